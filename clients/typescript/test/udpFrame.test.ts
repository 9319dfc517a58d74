/** The codec makes and reads every datagram of the project's vectors byte for byte. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import {
  Flag,
  UdpQuerySchema,
  UdpReplySchema,
  isGenuine,
  makeFrame,
  queryMac,
  readFrame,
  replyMac,
  signedLine,
  type Frame,
} from "../src/index.js";

interface Side {
  bytes: string;
  flags: number;
  payload: string;
  cookie?: string;
  mac?: string;
  says?: string[];
}
interface Vectors {
  session: { id: string; key: string };
  binary: { name: string; request: Side; reply: Side }[];
  text: { name: string; request: string; reply: string }[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../../../../tests/vectors/udp.json", import.meta.url), "utf8"),
) as Vectors;
const key = Buffer.from(vectors.session.key, "hex");

function framed(side: Side): Frame {
  const frame = readFrame(Buffer.from(side.bytes, "hex"));
  assert.ok(frame);
  return frame;
}

test("there are vectors of every kind", () => {
  assert.ok(vectors.binary.length >= 7 && vectors.text.length >= 10);
  assert.ok(vectors.binary.some(({ reply }) => reply.flags & Flag.TRUNCATED));
  assert.ok(vectors.binary.some(({ reply }) => reply.cookie !== undefined));
});

for (const { name, request, reply } of vectors.binary) {
  test(`each side is taken apart and put together again: ${name}`, () => {
    for (const side of [request, reply]) {
      const frame = framed(side);
      assert.equal(frame.flags, side.flags);
      assert.equal(Buffer.from(frame.payload).toString("hex"), side.payload);
      assert.equal(frame.cookie && Buffer.from(frame.cookie).toString("hex"), side.cookie);
      assert.equal(makeFrame(frame).toString("hex") + (side.mac ?? ""), side.bytes);
    }
  });

  test(`the query is encoded to the same bytes: ${name}`, () => {
    const query = fromBinary(UdpQuerySchema, Buffer.from(request.payload, "hex"));
    const again = create(UdpQuerySchema, { assets: query.assets, quote: query.quote, method: query.method });
    assert.equal(Buffer.from(toBinary(UdpQuerySchema, again)).toString("hex"), request.payload);
  });

  test(`the MACs are the vectors', and bind the reply to its request: ${name}`, () => {
    const asked = framed(request);
    const answered = framed(reply);
    assert.equal(answered.flags & Flag.RESPONSE, Flag.RESPONSE);
    assert.deepEqual([...answered.requestId], [...asked.requestId]);
    if (request.mac === undefined) {
      assert.equal(answered.mac, undefined);
      return;
    }
    const mac = queryMac(key, asked.signed);
    assert.equal(mac.toString("hex"), request.mac);
    assert.equal(asked.sessionId, BigInt(`0x${vectors.session.id}`));
    assert.equal(replyMac(key, mac, answered.signed).toString("hex"), reply.mac);
    assert.equal(isGenuine(answered, key, mac), true);
    assert.equal(isGenuine(answered, key, Buffer.alloc(16)), false);
    assert.equal(isGenuine(answered, Buffer.alloc(32), mac), false);
  });

  test(`the reply says what the vector says: ${name}`, () => {
    const { results } = fromBinary(UdpReplySchema, framed(reply).payload);
    assert.deepEqual(
      results.map((each) => `${each.asset} ${each.price || each.reason}`),
      reply.says,
    );
  });
}

for (const { name, request, reply } of vectors.text.filter((each) => each.request.includes(" m="))) {
  test(`a line is signed as the vector has it, where it was answered: ${name}`, () => {
    const [, text, unixS, sequence] = /^(.*) s=[0-9a-f]{16} t=(\d+) q=(\d+) m=/.exec(request) ?? [];
    const session = { id: vectors.session.id, key, unixS: Number(unixS), sequence: Number(sequence) };
    const made = signedLine(text ?? "", session);
    assert.equal(made === request, reply !== "" || name.includes("again"));
  });
}

test("what is longer, shorter or flagged otherwise than it says is no frame", () => {
  const good = Buffer.from(vectors.binary[0]!.request.bytes, "hex");
  assert.ok(readFrame(good));
  assert.equal(readFrame(good.subarray(0, -1)), undefined);
  assert.equal(readFrame(Buffer.concat([good, Buffer.alloc(1)])), undefined);
  assert.equal(readFrame(good.subarray(0, 27)), undefined);
  for (const [at, value] of [[0, 0xf2], [1, 0x22]] as const) {
    const changed = Buffer.from(good);
    changed[at] = value;
    assert.equal(readFrame(changed), undefined);
  }
});
