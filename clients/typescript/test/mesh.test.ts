/**
 * The client against a running mesh. TRINITY_MESH names a JSON file that says how to reach it:
 *
 *     {"ways": [{"name": "plain", "price": WAY, "report": WAY}], "udp": "host:port", "http": "http://…", "apiKey": "…"}
 *     WAY = {"address": "host:port", "apiKey": "…", "ca": FILE, "cert": FILE, "key": FILE, "serverName": "…"}
 *
 * Without it these tests are skipped.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  Code,
  Connection,
  GroupBy,
  Method,
  PriceBook,
  PriceClient,
  State,
  TrinityError,
  UdpClient,
  UsageClient,
  openUdpSession,
  tlsFromFiles,
  type PriceView,
} from "../src/index.js";
import { CuttingProxy } from "./cutting.js";

interface Way {
  address: string;
  apiKey?: string;
  ca?: string;
  cert?: string;
  key?: string;
  serverName?: string;
}
interface Mesh {
  ways: { name: string; price: Way; report: Way }[];
  refused: { name: string; price: Way; code: keyof typeof Code; reason: string }[];
  udp: string;
  http: string;
  apiKey: string;
}

const told = process.env["TRINITY_MESH"];
const mesh = (told === undefined ? { ways: [], refused: [] } : JSON.parse(readFileSync(told, "utf8"))) as Mesh;

/** Bounds a broken mesh, not a slow one. */
const LIMIT = { timeout: 30_000 };
const PRICE = /^[0-9]+(\.[0-9]+)?$/;

function connectionTo(way: Way, address = way.address): Connection {
  const { apiKey } = way;
  return new Connection({
    address,
    timeoutMs: LIMIT.timeout,
    ...(apiKey === undefined ? {} : { apiKey }),
    ...(way.ca === undefined ? {} : { tls: tlsFromFiles(way) }),
  });
}

test("there is a mesh to test against", { skip: told === undefined }, () => assert.ok(mesh.ways.length > 0));

for (const way of mesh.ways) {
  describe(way.name, () => {
    const connection = connectionTo(way.price);
    const prices = new PriceClient(connection);
    const reports = connectionTo(way.report);
    after(() => {
      connection.close();
      reports.close();
    });

    test("a price is got, exact and marked as simulated", async () => {
      const price = await prices.get("btc", { minSources: 1, maxAgeMs: 60_000 });
      assert.deepEqual([price.asset, price.quote, price.sandbox], ["BTC", "USD", true]);
      assert.match(price.price, PRICE);
      assert.equal(price.sourceCount, price.sources.length);
    });

    test("a batch has an outcome for each asset, in the order asked", async () => {
      const outcomes = await prices.batch(["ETH", "NOPE", "BTC"], { method: Method.VWAP });
      assert.deepEqual(outcomes.map(({ asset, price, error }) => [asset, price?.method ?? error?.reason]), [
        ["ETH", Method.VWAP],
        ["NOPE", "UNKNOWN_ASSET"],
        ["BTC", Method.VWAP],
      ]);
    });

    test("an explanation has every venue, and the kept ones are the sources of the price", async () => {
      const told = await prices.explain("BTC");
      assert.ok(told.price);
      assert.equal(told.inputs.length, 6);
      const kept = told.inputs.filter((input) => input.kept).map((input) => input.venue);
      assert.deepEqual(kept.sort(), told.price.sources);
    });

    test("assets come page by page, none twice", async () => {
      const assets: string[] = [];
      for await (const { asset } of prices.assets({ pageSize: 40 })) assets.push(asset);
      assert.equal(assets.length, 150);
      assert.equal(new Set(assets).size, 150);
    });

    test("an error has its reason, its facts, its fields and its request", async () => {
      await assert.rejects(prices.get("BTX"), (error: unknown) => {
        assert.ok(error instanceof TrinityError);
        assert.deepEqual([error.reason, error.code], ["UNKNOWN_ASSET", Code.NOT_FOUND]);
        assert.match(error.metadata["nearest"] ?? "", /BTC/);
        assert.notEqual(error.requestId, "");
        return true;
      });
      await assert.rejects(prices.get("BTC", { maxAgeMs: 0 }), (error: unknown) => {
        assert.ok(error instanceof TrinityError);
        assert.deepEqual([error.reason, error.code], ["INVALID_FIELD", Code.INVALID_ARGUMENT]);
        assert.deepEqual(error.violations.map(({ field }) => field), ["max_age"]);
        return true;
      });
      await assert.rejects(prices.get("BTC", { source: "kraken", method: Method.VWAP }), { reason: "INVALID_FIELD" });
    });

    test("a deadline is kept to and a call can be given up", async () => {
      await assert.rejects(prices.get("BTC", { timeoutMs: 0 }), { reason: "DEADLINE_EXCEEDED" });
      const call = new AbortController();
      const answer = prices.get("BTC", { signal: call.signal });
      call.abort();
      await assert.rejects(answer, { reason: "CANCELLED" });
    });

    test("a book follows, and resumes where it was after its connection was cut", LIMIT, async ({ signal }) => {
      const proxy = await CuttingProxy.before(way.price.address);
      const link = connectionTo(way.price, proxy.address);
      const book = new PriceBook(link, { assets: ["BTC", "ETH", "SOL"] });
      try {
        await book.ready(AbortSignal.timeout(LIMIT.timeout));
        const before = book.status;
        assert.deepEqual([...book.views.keys()].sort(), ["BTC", "ETH", "SOL"]);
        assert.ok([State.FRESH, State.DIVERGENT].includes(book.get("BTC")?.state ?? State.UNSPECIFIED));
        let newest = 0n;
        for await (const change of book.changes({ signal })) {
          assert.match(change.price, PRICE);
          if (proxy.cuts === 0 && change.sequence > before.sequence) {
            proxy.cut();
            newest = change.sequence;
          }
          if (proxy.cuts > 0 && book.status.streams > 1 && change.sequence > newest) break;
        }
        const { streams, replacements, epoch, connected } = book.status;
        assert.ok(streams >= 2 && proxy.cuts >= 1);
        // The same run of the service went on: nothing was replaced, nothing began anew.
        assert.deepEqual([replacements, epoch, connected], [1, before.epoch, true]);
      } finally {
        book.close();
        link.close();
        proxy.close();
      }
    });

    test("without news a price loses its freshness, whatever the connection says", async () => {
      const link = connectionTo(way.price);
      const book = new PriceBook(link, { assets: ["BTC"] });
      await book.ready(AbortSignal.timeout(LIMIT.timeout));
      book.close();
      link.close();
      const view = book.get("BTC") as PriceView;
      const nowNs = process.hrtime.bigint();
      assert.equal(view.stateAt(nowNs + 3_600_000_000_000n), State.STALE);
      assert.ok(view.ageMs >= 0 && view.ageMs < 60_000);
    });

    test("usage is read: what was answered to the key, listed and summed", LIMIT, async ({ signal }) => {
      const usage = new UsageClient(reports);
      // Counts are told to the usage service a few times a second.
      for (;;) {
        const sums = await usage.summarize({ groupBy: [GroupBy.METHOD] });
        assert.equal(sums.billed, sums.sums.reduce((sum, each) => sum + each.billed, 0n));
        if (sums.sums.some((each) => each.group[0] === "ExplainPrice" && each.billed > 0n)) break;
        await sleep(50, undefined, { signal });
      }
      let rows = 0;
      for await (const row of usage.list({ methods: ["ExplainPrice"], pageSize: 1 })) {
        assert.equal(row.method, "ExplainPrice");
        assert.ok(row.count > 0n && row.hour !== undefined);
        rows += 1;
      }
      assert.ok(rows > 0);
      await assert.rejects(async () => {
        for await (const row of usage.list({ associate: "nobody-at-all" })) assert.fail(String(row));
      }, TrinityError);
    });
  });
}

for (const { name, price, code, reason } of mesh.refused) {
  test(`refused: ${name}`, LIMIT, async () => {
    const connection = connectionTo(price);
    try {
      await assert.rejects(new PriceClient(connection).get("BTC"), (error: unknown) => {
        assert.ok(error instanceof TrinityError);
        assert.deepEqual([Code[error.code], error.reason], [code, reason]);
        return true;
      });
      if (code === "UNAVAILABLE") return;
      const book = new PriceBook(connection);
      await assert.rejects(book.ready(), { reason });
      book.close();
    } finally {
      connection.close();
    }
  });
}

test("a price comes by datagram, signed both ways", { ...LIMIT, skip: told === undefined }, async () => {
  const session = await openUdpSession(mesh.http, mesh.apiKey);
  const colon = mesh.udp.lastIndexOf(":");
  const client = new UdpClient(mesh.udp.slice(0, colon), Number(mesh.udp.slice(colon + 1)), session, { tries: 40 });
  try {
    const price = await client.get("BTC");
    assert.deepEqual([price.asset, price.sandbox], ["BTC", true]);
    assert.match(price.price, PRICE);
    await assert.rejects(client.get("NOPE"), { reason: "UNKNOWN_ASSET" });
    assert.equal(client.forged, 0);
  } finally {
    client.close();
  }
  await assert.rejects(openUdpSession(mesh.http, `${mesh.apiKey.slice(0, -1)}_`), { reason: "INVALID_KEY" });
});
