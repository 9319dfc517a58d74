/**
 * What a replica does with each batch of WatchPrices. Pure: batches in, changed prices out.
 *
 * The rules of the stream are checked, not trusted: it opens with a snapshot, sequences only grow, an epoch lasts as
 * long as the stream. A batch that breaks one throws StreamBrokenError, and the next stream starts from a whole
 * snapshot, so that a gap is mended or seen but never hidden.
 */

import type { Clock } from "./clock.js";
import { State, type Price, type WatchPricesResponse } from "./gen/trinity/price/v1/price_pb.js";
import { Timeline } from "./timeline.js";
import { PriceView, unixNs } from "./view.js";

/** Most assets that a replica holds; a stream that sends more is broken. */
export const ASSETS_MAX = 10_000;

/** A batch broke the rules of the stream; the message says which. */
export class StreamBrokenError extends Error {
  override readonly name = "StreamBrokenError";
}

/** Newest price of each asset, and how far the stream has come. */
export class Replica {
  /** Newest price of each asset, by id in upper case. */
  readonly views = new Map<string, PriceView>();
  /** Run of the book that the prices belong to; 0 before a snapshot is complete, or when it is not trusted. */
  epoch = 0n;
  /** Everything up to this sequence has arrived. */
  sequence = 0n;
  /** Changes that the service folded into newer ones, since the start. */
  skipped = 0n;
  /** Whole snapshots taken: 1 for the start, one more for each restart of the service. */
  replacements = 0;
  /** Time the newest batch was under way, nanoseconds; between hosts, what it took more than the fastest. */
  transitNs = 0n;

  readonly #clock: Clock;
  readonly #clockId: string;
  #timeline: Timeline;
  #staged = new Map<string, PriceView>();
  #stagedTimeline: Timeline | undefined;
  #streamEpoch = 0n;
  #opening = true;

  /** `clockId` names the clock that `clock` reads. */
  constructor(clock: Clock, clockId: string) {
    this.#clock = clock;
    this.#clockId = clockId;
    this.#timeline = new Timeline(clockId);
  }

  /** The stream's snapshot is not complete yet. */
  get opening(): boolean {
    return this.#opening;
  }

  /** A stream is about to open: what to resume after, zeros for a whole snapshot. */
  opened(): { resumeEpoch: bigint; resumeSequence: bigint } {
    this.#opening = true;
    this.#streamEpoch = 0n;
    this.#staged = new Map();
    this.#stagedTimeline = undefined;
    return { resumeEpoch: this.epoch, resumeSequence: this.sequence };
  }

  /** The stream broke its rules: let the next one send a whole snapshot, which replaces everything. */
  distrust(): void {
    this.epoch = 0n;
  }

  /**
   * Take one batch that arrived at `nowNs`; the prices that changed by it, in order.
   *
   * A snapshot of another epoch changes nothing until it is complete. Then it replaces every price, and those it lacks
   * are among the changes, HALTED.
   */
  receive(batch: WatchPricesResponse, nowNs: bigint): PriceView[] {
    const timeline = this.#timelineOf(batch);
    this.transitNs = timeline.observe(batch.clockId, batch.sentMonotonicNs, nowNs);
    this.skipped += batch.skipped;
    const view = (message: Price): PriceView =>
      new PriceView(message, timeline, batch.sentMonotonicNs - unixNs(batch.sentTime), this.#clock);
    if (!batch.snapshot) {
      if (this.#opening) throw new StreamBrokenError("a change came before the snapshot was complete");
      return this.#changes(batch, view);
    }
    if (!this.#opening) throw new StreamBrokenError("a second snapshot came");
    if (batch.epoch === this.epoch && batch.sequence < this.sequence) {
      throw new StreamBrokenError(`the snapshot ends at ${batch.sequence}, behind ${this.sequence}`);
    }
    const changed = batch.epoch === this.epoch ? this.#merge(batch, view) : this.#stage(batch, timeline, view);
    if (batch.snapshotComplete) {
      this.#opening = false;
      this.sequence = batch.sequence;
    }
    return changed;
  }

  /** Put into each message the state that it has by now; the prices whose message changed. */
  aged(nowNs: bigint): PriceView[] {
    const changed: PriceView[] = [];
    for (const view of this.views.values()) {
      const state = view.stateAt(nowNs);
      if (state !== view.message.state) changed.push(view.judged(state));
    }
    for (const view of changed) this.views.set(view.asset, view);
    return changed;
  }

  /** The sender's timeline: the one we have when the sender is the run we know, else a new one. */
  #timelineOf(batch: WatchPricesResponse): Timeline {
    if (batch.epoch === 0n) throw new StreamBrokenError("a batch came without an epoch");
    if (batch.sentTime === undefined) throw new StreamBrokenError("a batch came without the time it was sent");
    if (this.#streamEpoch === 0n) this.#streamEpoch = batch.epoch;
    else if (batch.epoch !== this.#streamEpoch) throw new StreamBrokenError("the epoch changed in mid-stream");
    if (batch.epoch === this.epoch) return this.#timeline;
    return (this.#stagedTimeline ??= new Timeline(this.#clockId));
  }

  /** Every price is newer than all that came before it in the stream. */
  #changes(batch: WatchPricesResponse, view: (message: Price) => PriceView): PriceView[] {
    let newest = this.sequence;
    const changed: PriceView[] = [];
    for (const message of batch.prices) {
      if (message.sequence <= newest) throw new StreamBrokenError(`sequence ${message.sequence} came after ${newest}`);
      newest = message.sequence;
      const made = view(message);
      this.views.set(made.asset, made);
      changed.push(made);
    }
    if (newest > batch.sequence) throw new StreamBrokenError(`the batch ends at ${batch.sequence}, behind ${newest}`);
    bounded(this.views);
    this.sequence = batch.sequence;
    return changed;
  }

  /** A snapshot of the run we know: what is newer replaces what we have. */
  #merge(batch: WatchPricesResponse, view: (message: Price) => PriceView): PriceView[] {
    const changed: PriceView[] = [];
    for (const message of batch.prices) {
      const known = this.views.get(message.asset);
      if (known !== undefined && message.sequence <= known.sequence) continue;
      const made = view(message);
      this.views.set(made.asset, made);
      changed.push(made);
    }
    bounded(this.views);
    return changed;
  }

  /** A snapshot of another run: kept aside until it is whole. */
  #stage(batch: WatchPricesResponse, timeline: Timeline, view: (message: Price) => PriceView): PriceView[] {
    for (const message of batch.prices) this.#staged.set(message.asset, view(message));
    bounded(this.#staged);
    if (!batch.snapshotComplete) return [];
    const gone = [...this.views.values()].filter(({ asset }) => !this.#staged.has(asset));
    this.views.clear();
    for (const [asset, made] of this.#staged) this.views.set(asset, made);
    this.#timeline = timeline;
    this.#staged = new Map();
    this.#stagedTimeline = undefined;
    this.epoch = batch.epoch;
    this.replacements += 1;
    return [...gone.map((each) => each.judged(State.HALTED)), ...this.views.values()];
  }
}

function bounded(views: ReadonlyMap<string, PriceView>): void {
  if (views.size > ASSETS_MAX) throw new StreamBrokenError(`more than ${ASSETS_MAX} assets came`);
}
