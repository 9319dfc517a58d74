/** The book over a real socket: resumption, refusals, silence, and readers that are slow. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { Metadata, status as Code } from "@grpc/grpc-js";

import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/gen/google/rpc/status_pb.js";
import { Connection, PriceBook, TrinityError, type PriceBookOptions } from "../src/index.js";
import { CLOCK, MONO_NS, batch, price, served, snapshot, type Stream } from "./scripted.js";

/** Far enough from the end of a loaded machine's patience, and never reached by a test that passes. */
const LIMIT = { timeout: 20_000 };

const clock = { monotonicNs: () => MONO_NS };

async function bookOf(context: TestContext, watch: (stream: Stream) => void, options: PriceBookOptions = {}): Promise<PriceBook> {
  const service = await served(watch);
  const connection = new Connection({ address: service.address });
  const book = new PriceBook(connection, { clock, clockName: CLOCK, ...options });
  context.after(() => {
    book.close();
    connection.close();
    service.close();
  });
  return book;
}

/** Read changes until there are as many as asked for. */
async function read(book: PriceBook, count: number): Promise<string[]> {
  const said: string[] = [];
  for await (const change of book.changes()) if (said.push(`${change.asset} ${change.price}`) === count) break;
  return said;
}

test("a stream that is lost is resumed after the last sequence, and none is given twice", LIMIT, async (context) => {
  const asked: string[] = [];
  const book = await bookOf(context, (stream) => {
    const { resumeEpoch, resumeSequence, assets } = stream.request;
    asked.push(`${assets.join()} ${resumeEpoch} ${resumeSequence}`);
    if (asked.length > 1) stream.write(snapshot([price("ETH", "3", 3n)], 3n));
    else {
      stream.write(snapshot([price("BTC", "1", 1n)], 1n));
      stream.write(batch([price("ETH", "2", 2n)], 2n));
      stream.end();
    }
  }, { assets: ["eth", "BTC", "btc"] });
  await book.ready();
  const seen = new Map<string, string>();
  for await (const change of book.changes()) {
    seen.set(change.asset, change.price);
    if (change.price === "3") break;
  }
  assert.deepEqual(asked, ["BTC,ETH 0 0", "BTC,ETH 1 2"]);
  assert.deepEqual([book.get("btc")?.price, book.get("ETH")?.price, seen.get("ETH")], ["1", "3", "3"]);
  assert.deepEqual([book.status.streams, book.status.replacements, book.status.connected], [2, 1, true]);
  assert.equal(book.status.detail, "the service ended the stream");
});

test("a stream that breaks its rules is followed by a whole snapshot", LIMIT, async (context) => {
  const asked: bigint[] = [];
  const book = await bookOf(context, (stream) => {
    asked.push(stream.request.resumeEpoch);
    stream.write(snapshot([price("BTC", String(asked.length), 1n)], 1n));
    if (asked.length === 1) stream.write(batch([price("BTC", "0", 1n)], 1n));
  });
  await book.ready();
  for await (const change of book.changes()) if (change.price === "2") break;
  assert.deepEqual(asked, [0n, 0n]);
  assert.equal(book.status.replacements, 2);
  assert.match(book.status.detail, /sequence 1 came after 1/);
});

test("a refusal is for good, and comes with its reason", LIMIT, async (context) => {
  let streams = 0;
  const book = await bookOf(context, (stream) => {
    streams += 1;
    const info = { reason: "UNKNOWN_ASSET", domain: "trinity-beast", metadata: { nearest: "BTC" } };
    const details = [
      anyPack(ErrorInfoSchema, create(ErrorInfoSchema, info)),
      anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(1_500) })),
    ];
    const metadata = new Metadata();
    const told = create(StatusSchema, { code: Code.NOT_FOUND, message: "no asset 'BTX'", details });
    metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, told)));
    stream.emit("error", { code: Code.NOT_FOUND, details: "no asset 'BTX'", metadata });
  });
  await assert.rejects(book.ready(), (error: unknown) => {
    assert.ok(error instanceof TrinityError);
    assert.deepEqual([error.reason, error.code, error.message], ["UNKNOWN_ASSET", Code.NOT_FOUND, "no asset 'BTX'"]);
    assert.deepEqual([error.metadata, error.retryAfterMs], [{ nearest: "BTC" }, 1_500]);
    return true;
  });
  await assert.rejects(read(book, 1), TrinityError);
  assert.equal(streams, 1);
});

test("a stream that falls silent is opened again", LIMIT, async (context) => {
  let streams = 0;
  // One heartbeat is expected each millisecond, by the machine's own clock; the first stream never sends any.
  const options = { heartbeatMs: 1, clock: { monotonicNs: () => process.hrtime.bigint() } };
  const book = await bookOf(context, (stream) => {
    streams += 1;
    stream.write(snapshot([price("BTC", String(streams), BigInt(streams))], BigInt(streams)));
  }, options);
  for await (const change of book.changes()) if (change.price !== "1") break;
  assert.match(book.status.detail, /nothing came for 0.003 s/);
});

test("a slow reader gets the newest of each asset, and its backlog is one price an asset", LIMIT, async (context) => {
  let said: (() => void) | undefined;
  const book = await bookOf(context, (stream) => {
    stream.write(snapshot([price("BTC", "1", 1n), price("ETH", "1", 2n)], 2n));
    said = () => {
      for (let n = 3n; n <= 1_002n; n += 1n) stream.write(batch([price("BTC", String(n), n)], n));
    };
  });
  await book.ready();
  const slow = book.changes();
  assert.deepEqual([(await slow.next()).value?.asset, (await slow.next()).value?.asset], ["BTC", "ETH"]);
  const quick = book.changes({ assets: ["BTC"] });
  said?.();
  for await (const change of quick) if (change.price === "1002") break;
  assert.equal((await slow.next()).value?.price, "1002");
  await slow.return();
});

test("a book that is closed ends its readers", LIMIT, async (context) => {
  const book = await bookOf(context, (stream) => void stream.write(snapshot([price("BTC", "1", 1n)], 1n)));
  await book.ready();
  const reading = read(book, 2);
  book.close();
  assert.deepEqual(await reading, ["BTC 1"]);
  assert.equal(book.get("BTC")?.price, "1");
  assert.equal(book.status.connected, false);
});

test("settings that make no sense are refused before anything is opened", () => {
  const connection = new Connection({ address: "127.0.0.1:1" });
  assert.throws(() => new PriceBook(connection, { assets: [] }), RangeError);
  assert.throws(() => new PriceBook(connection, { heartbeatMs: 0 }), RangeError);
  assert.throws(() => new Connection({ address: "127.0.0.1:1", tls: { cert: Buffer.from("x") } }), TypeError);
  connection.close();
});
