/** The rules of the stream: sequences, epochs, snapshots, and prices that age. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { State } from "../src/index.js";
import { ASSETS_MAX, Replica, StreamBrokenError } from "../src/replica.js";
import { CLOCK, MONO_NS, batch, price, snapshot } from "./scripted.js";

class HandClock {
  ns = MONO_NS;
  monotonicNs(): bigint {
    return this.ns;
  }
}

function opened(): { clock: HandClock; replica: Replica; receive: (said: Parameters<Replica["receive"]>[0]) => string[] } {
  const clock = new HandClock();
  const replica = new Replica(clock, CLOCK);
  replica.opened();
  return {
    clock,
    replica,
    receive: (said) => replica.receive(said, clock.ns).map((view) => `${view.asset} ${view.price} ${State[view.state]}`),
  };
}

test("a snapshot of several batches changes nothing until it is whole", () => {
  const { replica, receive } = opened();
  assert.deepEqual(receive(batch([price("BTC", "1", 1n)], 2n, { snapshot: true })), []);
  assert.equal(replica.views.size, 0);
  const told = receive(snapshot([price("ETH", "2", 2n)], 2n));
  assert.deepEqual(told, ["BTC 1 FRESH", "ETH 2 FRESH"]);
  assert.deepEqual([replica.epoch, replica.sequence, replica.replacements, replica.opening], [1n, 2n, 1, false]);
});

test("a stream of the same run is resumed, and what is newer replaces what we have", () => {
  const { replica, receive } = opened();
  receive(snapshot([price("BTC", "1", 1n), price("ETH", "2", 2n)], 2n));
  receive(batch([price("BTC", "3", 3n)], 3n));
  assert.deepEqual(replica.opened(), { resumeEpoch: 1n, resumeSequence: 3n });
  assert.deepEqual(receive(snapshot([price("ETH", "4", 4n)], 4n)), ["ETH 4 FRESH"]);
  assert.deepEqual([replica.views.get("BTC")?.price, replica.sequence, replica.replacements], ["3", 4n, 1]);
});

test("a snapshot of another run replaces everything, and what it lacks is told once more, HALTED", () => {
  const { replica, receive } = opened();
  receive(snapshot([price("BTC", "1", 100n), price("ETH", "2", 101n)], 101n));
  replica.opened();
  const told = receive(snapshot([price("BTC", "9", 1n, { epoch: 2n })], 1n, { epoch: 2n }));
  assert.deepEqual(told, ["ETH 2 HALTED", "BTC 9 FRESH"]);
  assert.deepEqual([[...replica.views.keys()], replica.epoch, replica.replacements], [["BTC"], 2n, 2]);
});

const ONE = snapshot([price("BTC", "1", 5n)], 5n);
for (const [what, said] of [
  ["a sequence that does not grow", [ONE, batch([price("BTC", "2", 5n)], 6n)]],
  ["a batch that ends behind its prices", [ONE, batch([price("BTC", "2", 7n)], 6n)]],
  ["a change before the snapshot", [batch([price("BTC", "1", 1n)], 1n)]],
  ["a second snapshot", [ONE, ONE]],
  ["an epoch that changes in mid-stream", [ONE, batch([], 6n, { epoch: 2n })]],
  ["no epoch", [snapshot([], 1n, { epoch: 0n })]],
  ["more assets than there can be", [snapshot(Array.from({ length: ASSETS_MAX + 1 }, (_, n) => price(`A${n}`, "1", BigInt(n + 1))), 20_000n)]],
] as const) {
  test(`a stream with ${what} is broken`, () => {
    const { receive } = opened();
    for (const good of said.slice(0, -1)) receive(good);
    assert.throws(() => receive(said.at(-1)!), StreamBrokenError);
  });
}

test("a stream that is not trusted is followed by a whole snapshot", () => {
  const { replica, receive } = opened();
  receive(ONE);
  replica.distrust();
  assert.equal(replica.opened().resumeEpoch, 0n);
});

test("without news a price turns DELAYED and then STALE, and is told of each time", () => {
  const { clock, replica, receive } = opened();
  receive(ONE);
  const view = replica.views.get("BTC")!;
  clock.ns += 9_999_000_000n;
  assert.deepEqual([view.state, view.ageMs, replica.aged(clock.ns).length], [State.FRESH, 9_999, 0]);
  clock.ns += 1_000_000n;
  assert.equal(view.state, State.DELAYED);
  assert.deepEqual(replica.aged(clock.ns).map((each) => each.message.state), [State.DELAYED]);
  assert.deepEqual(replica.aged(clock.ns), []);
  clock.ns += 20_000_000_000n;
  assert.deepEqual(replica.aged(clock.ns).map((each) => each.message.state), [State.STALE]);
});

test("a state that this version does not know counts as STALE", () => {
  const { replica, receive } = opened();
  receive(snapshot([price("BTC", "1", 1n, { state: 99 as State })], 1n));
  assert.equal(replica.views.get("BTC")?.state, State.STALE);
});

test("from another host only the delay above the smallest counts, so a stalled stream shows its stall", () => {
  const { clock, replica, receive } = opened();
  const foreign = { clockId: "another host", sentMonotonicNs: 77n };
  clock.ns = 1_000n;
  receive(snapshot([price("BTC", "1", 1n)], 1n, foreign));
  assert.equal(replica.transitNs, 0n);
  clock.ns += 12_000_000_000n;
  receive(batch([price("BTC", "2", 2n)], 2n, foreign));
  assert.equal(replica.transitNs, 12_000_000_000n);
  assert.equal(replica.views.get("BTC")?.state, State.DELAYED);
});
