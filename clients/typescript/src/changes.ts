/** Who listens to changes: the newest of each asset, however slow the listener. Pure. */

import type { PriceView } from "./view.js";

/** One listener's backlog: a price an asset, no more. */
export class Changes {
  readonly #wanted: ReadonlySet<string> | undefined;
  #waiting = new Map<string, PriceView>();
  #wake: (() => void) | undefined;
  #ended = false;
  readonly #stop = (): void => this.#wake?.();

  /** `wanted` are ids in upper case; undefined for all. */
  constructor(wanted: ReadonlySet<string> | undefined) {
    this.#wanted = wanted;
  }

  /** The book has ended: what waits is still given, then nothing more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Note changes; of an asset that waits already only the newest stays. */
  add(views: Iterable<PriceView>): void {
    for (const view of views) {
      if (this.#wanted !== undefined && !this.#wanted.has(view.asset)) continue;
      this.#waiting.delete(view.asset);
      this.#waiting.set(view.asset, view);
    }
    if (this.#waiting.size > 0) this.#wake?.();
  }

  /** Nothing more will come. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** What waits, oldest change first; waits for something until the end or `signal`. */
  async take(signal: AbortSignal | undefined): Promise<PriceView[]> {
    if (this.#waiting.size === 0 && !this.#ended && signal?.aborted !== true) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        signal?.addEventListener("abort", this.#stop);
      });
      signal?.removeEventListener("abort", this.#stop);
      this.#wake = undefined;
    }
    const taken = [...this.#waiting.values()];
    this.#waiting = new Map();
    return taken;
  }
}
