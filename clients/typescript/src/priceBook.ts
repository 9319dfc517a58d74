/**
 * A live local replica of the price service's book.
 *
 *     const book = new PriceBook(connection, { assets: ["BTC", "ETH"] });
 *     await book.ready();
 *     const btc = book.get("BTC");                    // a look into a map, no call
 *     for await (const change of book.changes()) …    // newest of each asset; a slow reader misses, never lags
 *     book.close();
 *
 * The book follows WatchPrices, opens the stream again when it is lost or silent, and resumes where it was. What a
 * price is worth is judged by this process's monotonic clock whenever it is looked at: without news every price turns
 * DELAYED and then STALE, connected or not.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { Changes } from "./changes.js";
import { clockId, systemClock, type Clock } from "./clock.js";
import type { Connection } from "./connection.js";
import { Code, TrinityError } from "./errors.js";
import { PriceService } from "./gen/trinity/price/v1/price_service_pb.js";
import { Replica, StreamBrokenError } from "./replica.js";
import type { PriceView } from "./view.js";

/** Settings of a {@link PriceBook}. */
export interface PriceBookOptions {
  /** Ids to follow, in either case; all without it. */
  readonly assets?: readonly string[];
  /** The service speaks at least this often; after three times as long in silence the stream counts as lost. */
  readonly heartbeatMs?: number;
  /** Shortest time between two batches; 0 for as fast as the service sends. */
  readonly intervalMs?: number;
  /** The clock by which prices age, and the name of it; the machine's by default. */
  readonly clock?: Clock;
  readonly clockName?: string;
}

/** How a book stands with the price service. */
export interface BookStatus {
  /** A stream is open and its snapshot is complete. */
  readonly connected: boolean;
  /** Streams opened since the start; each after the first is a reconnection. */
  readonly streams: number;
  /** Attempts that failed since data last came. */
  readonly failures: number;
  /** Why the last stream ended; empty before any did. */
  readonly detail: string;
  readonly epoch: bigint;
  readonly sequence: bigint;
  readonly skipped: bigint;
  readonly replacements: number;
  readonly transitMs: number;
}

/** Most `changes` loops open at once on one book. */
export const SUBSCRIPTIONS_MAX = 1_000;

const HEARTBEATS_MISSED = 3n;
/** A service that has just started lets a stream wait for its own sources, a few seconds at most. */
const OPENING_NS = 10_000_000_000n;
const KEEPER_MS = 100;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_CAP_MS = 2_000;
const REFUSALS: ReadonlySet<Code> = new Set([
  Code.INVALID_ARGUMENT,
  Code.NOT_FOUND,
  Code.PERMISSION_DENIED,
  Code.UNAUTHENTICATED,
  Code.FAILED_PRECONDITION,
]);

/** A replica that is kept up to date until it is closed. The connection stays the caller's to close. */
export class PriceBook {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #replica: Replica;
  readonly #request: { assets: string[]; heartbeatMs: number; intervalMs: number };
  readonly #silenceNs: bigint;
  readonly #listeners = new Set<Changes>();
  readonly #closing = new AbortController();
  readonly #keeper: NodeJS.Timeout;
  readonly #first = deferred<void>();
  #stream: AbortController | undefined;
  #refusal: TrinityError | undefined;
  #streams = 0;
  #failures = 0;
  #detail = "";
  #spokeNs = 0n;
  #patienceNs = OPENING_NS;

  /** Begins to follow at once. */
  constructor(connection: Connection, options: PriceBookOptions = {}) {
    const { heartbeatMs = 1_000, intervalMs = 0, clock = systemClock } = options;
    if (!(heartbeatMs >= 1 && heartbeatMs <= 60_000 && intervalMs >= 0 && intervalMs <= 60_000)) {
      throw new RangeError("heartbeatMs must be from 1 to 60000, intervalMs from 0 to 60000");
    }
    if (options.assets?.length === 0) throw new RangeError("assets must name at least one asset, or be left out for all");
    this.#connection = connection;
    this.#clock = clock;
    this.#replica = new Replica(clock, options.clockName ?? clockId());
    const assets = [...new Set((options.assets ?? []).map((asset) => asset.toUpperCase()))].sort();
    this.#request = { assets, heartbeatMs, intervalMs };
    this.#silenceNs = BigInt(Math.max(heartbeatMs, intervalMs)) * 1_000_000n * HEARTBEATS_MISSED;
    this.#first.promise.catch(() => undefined);
    this.#keeper = setInterval(() => this.#keep(), KEEPER_MS);
    void this.#follow();
  }

  /**
   * Resolves once the first snapshot is complete; bound the wait with `signal`. Throws TrinityError when the service
   * refuses the stream for good (an unknown asset, a missing key); lost connections are tried again instead.
   */
  async ready(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (signal === undefined) return this.#first.promise;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
    return Promise.race([this.#first.promise, aborted]);
  }

  /** The newest price of an asset, in either case; undefined where there is none. Never waits. */
  get(asset: string): PriceView | undefined {
    return this.#replica.views.get(asset) ?? this.#replica.views.get(asset.toUpperCase());
  }

  /** The newest price of every asset, by id in upper case; live. */
  get views(): ReadonlyMap<string, PriceView> {
    return this.#replica.views;
  }

  /** How the book stands with the price service now. */
  get status(): BookStatus {
    const { epoch, sequence, skipped, replacements, transitNs, opening } = this.#replica;
    return {
      connected: this.#stream !== undefined && !opening && !this.#closing.signal.aborted,
      streams: this.#streams,
      failures: this.#failures,
      detail: this.#detail,
      epoch,
      sequence,
      skipped,
      replacements,
      transitMs: Number(transitNs) / 1e6,
    };
  }

  /**
   * Prices: those there are now, then each that changes or whose state changes by age, newest of each asset only. Ends
   * when the book is closed or `signal` is aborted. Throws TrinityError when the service refuses the stream for good.
   */
  async *changes(
    options: { assets?: readonly string[]; signal?: AbortSignal } = {},
  ): AsyncGenerator<PriceView, void, undefined> {
    if (this.#listeners.size >= SUBSCRIPTIONS_MAX) throw new RangeError(`${SUBSCRIPTIONS_MAX} loops are open already`);
    const wanted = options.assets && new Set(options.assets.map((asset) => asset.toUpperCase()));
    const mine = new Changes(wanted);
    mine.add([...this.views.values()].sort((one, other) => (one.sequence < other.sequence ? -1 : 1)));
    if (this.#closing.signal.aborted || this.#refusal !== undefined) mine.end();
    this.#listeners.add(mine);
    try {
      while (options.signal?.aborted !== true) {
        yield* await mine.take(options.signal);
        if (mine.ended) break;
      }
      if (this.#refusal !== undefined) throw this.#refusal;
    } finally {
      this.#listeners.delete(mine);
    }
  }

  /** Stop following. What was read stays readable, and ages. */
  close(): void {
    this.#closing.abort();
    this.#stream?.abort();
    this.#end(new TrinityError("CANCELLED", Code.CANCELLED, "the book was closed"));
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted && this.#refusal === undefined) {
      await this.#followOnce();
      if (signal.aborted || this.#refusal !== undefined) return;
      const bound = Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.#failures, 20));
      this.#failures += 1;
      await sleep(Math.random() * bound, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Open one stream and read it to its end, whatever that is. */
  async #followOnce(): Promise<void> {
    const stream = (this.#stream = new AbortController());
    this.#streams += 1;
    this.#spokeNs = this.#clock.monotonicNs();
    this.#patienceNs = this.#silenceNs > OPENING_NS ? this.#silenceNs : OPENING_NS;
    const request = { ...this.#request, ...this.#replica.opened() };
    try {
      for await (const batch of this.#connection.stream(PriceService.method.watchPrices, request, stream)) {
        const nowNs = (this.#spokeNs = this.#clock.monotonicNs());
        this.#patienceNs = this.#silenceNs;
        this.#tell(this.#replica.receive(batch, nowNs));
        if (!this.#replica.opening) {
          this.#failures = 0;
          this.#first.resolve();
        }
      }
      this.#detail = "the service ended the stream";
    } catch (error) {
      this.#failed(error, stream.signal);
    } finally {
      this.#stream = undefined;
    }
  }

  #failed(error: unknown, signal: AbortSignal): void {
    if (this.#closing.signal.aborted) {
      this.#detail = "the book was closed";
    } else if (signal.aborted) {
      this.#detail = `nothing came for ${Number(this.#patienceNs) / 1e9} s`;
    } else if (error instanceof TrinityError) {
      this.#detail = error.message;
      if (REFUSALS.has(error.code)) this.#end((this.#refusal = error));
    } else {
      // Whatever a batch may hold, a replica that stopped following would be worse.
      this.#replica.distrust();
      this.#detail = error instanceof StreamBrokenError ? `the stream broke its rules: ${error.message}` : String(error);
    }
  }

  /** Let prices age, and cut a stream that fell silent. */
  #keep(): void {
    const nowNs = this.#clock.monotonicNs();
    this.#tell(this.#replica.aged(nowNs));
    if (nowNs - this.#spokeNs > this.#patienceNs) this.#stream?.abort();
  }

  #tell(changed: readonly PriceView[]): void {
    if (changed.length > 0) for (const listener of this.#listeners) listener.add(changed);
  }

  #end(reason: TrinityError): void {
    clearInterval(this.#keeper);
    this.#first.reject(reason);
    for (const listener of this.#listeners) listener.end();
  }
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

function deferred<T>(): Deferred<T> {
  let settle: Pick<Deferred<T>, "resolve" | "reject"> | undefined;
  const promise = new Promise<T>((resolve, reject) => (settle = { resolve, reject }));
  return { promise, ...settle! };
}
