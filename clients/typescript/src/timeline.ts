/** The monotonic clock of one run of the price service, told from ours. Pure. */

const WINDOW_NS = 600_000_000_000n;

/**
 * Between processes that share a clock the difference is the transit. Between hosts only differences of delays can be
 * known: the smallest seen in ten minutes stands for "no delay", and everything above it is delay, so that a stream
 * that stalls and then delivers its backlog shows the stall.
 */
export class Timeline {
  readonly #clockId: string;
  #smallest: bigint | undefined;
  #candidate = 0n;
  #sinceNs = 0n;

  /** `clockId` is ours. */
  constructor(clockId: string) {
    this.#clockId = clockId;
  }

  /** Our monotonic time minus the service's; as good as the fastest message so far. */
  get offsetNs(): bigint {
    return this.#smallest ?? 0n;
  }

  /** Take note of a message that was sent at `sentNs` of its sender's clock; its transit, at least 0. */
  observe(clockId: string, sentNs: bigint, nowNs: bigint): bigint {
    const difference = nowNs - sentNs;
    if (clockId !== "" && clockId === this.#clockId) {
      this.#smallest = 0n;
      return difference > 0n ? difference : 0n;
    }
    if (this.#smallest === undefined) {
      this.#smallest = this.#candidate = difference;
      this.#sinceNs = nowNs;
    }
    this.#candidate = least(this.#candidate, difference);
    if (nowNs - this.#sinceNs > WINDOW_NS) {
      // Clocks drift apart: after a window, its own smallest delay replaces the older one.
      this.#smallest = this.#candidate;
      this.#candidate = difference;
      this.#sinceNs = nowNs;
    }
    this.#smallest = least(this.#smallest, difference);
    return difference - this.#smallest;
  }
}

function least(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}
