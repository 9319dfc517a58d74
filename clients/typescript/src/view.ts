/** One price as a replica holds it: the service's message, judged by our own clock. */

import type { Timestamp } from "@bufbuild/protobuf/wkt";

import type { Clock } from "./clock.js";
import { State, type Price } from "./gen/trinity/price/v1/price_pb.js";
import type { Timeline } from "./timeline.js";

/** Unix nanoseconds of a timestamp; 0 where there is none. */
export function unixNs(time: Timestamp | undefined): bigint {
  return time === undefined ? 0n : time.seconds * 1_000_000_000n + BigInt(time.nanos);
}

/** One price, as it was when it last changed, with its state judged whenever you ask. It is never altered. */
export class PriceView {
  /** The service's own message. Its `state` is the one judged last; `state` of the view is the one now. */
  readonly message: Price;
  readonly #timeline: Timeline;
  readonly #wallToMonoNs: bigint;
  readonly #clock: Clock;

  /** `wallToMonoNs` is the service's monotonic time minus its wall time, as of the batch that carried the message. */
  constructor(message: Price, timeline: Timeline, wallToMonoNs: bigint, clock: Clock) {
    this.message = message;
    this.#timeline = timeline;
    this.#wallToMonoNs = wallToMonoNs;
    this.#clock = clock;
  }

  /** Asset id, upper case. */
  get asset(): string {
    return this.message.asset;
  }

  /** The price in USD, a decimal string exactly as computed. */
  get price(): string {
    return this.message.price;
  }

  /** Grows with every change of the book within an epoch. */
  get sequence(): bigint {
    return this.message.sequence;
  }

  /** The price is simulated and must not be used as a market price. */
  get sandbox(): boolean {
    return this.message.sandbox;
  }

  /** How far the price can be trusted now. */
  get state(): State {
    return this.stateAt(this.#clock.monotonicNs());
  }

  /** How far it can be trusted at a time of our clock: never better than the service judged, and STALE where unknown. */
  stateAt(nowNs: bigint): State {
    const judged = this.message.state;
    if (judged === State.STALE || judged === State.HALTED) return judged;
    if (judged !== State.FRESH && judged !== State.DELAYED && judged !== State.DIVERGENT) return State.STALE;
    if (nowNs >= this.#local(this.message.staleAt)) return State.STALE;
    if (nowNs >= this.#local(this.message.freshUntil)) return State.DELAYED;
    return judged;
  }

  /** Time since the newest kept quote was received, milliseconds, at least 0. */
  get ageMs(): number {
    const ageNs = this.#clock.monotonicNs() - this.#local(this.message.receiveTime);
    return Math.max(0, Number(ageNs) / 1e6);
  }

  /** The same price with another state in its message. */
  judged(state: State): PriceView {
    return new PriceView({ ...this.message, state }, this.#timeline, this.#wallToMonoNs, this.#clock);
  }

  #local(time: Timestamp | undefined): bigint {
    return unixNs(time) + this.#wallToMonoNs + this.#timeline.offsetNs;
  }
}
