/** A price service that says what a test tells it, over a real socket; and the batches that it says. */

import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

import {
  PriceSchema,
  PriceService,
  State,
  WatchPricesRequestSchema,
  WatchPricesResponseSchema,
  type Price,
  type WatchPricesRequest,
  type WatchPricesResponse,
} from "../src/index.js";

/** The wall clock of the scripted service, milliseconds. */
export const WALL_MS = 1_767_322_800_000;

/** Its monotonic clock at that moment, nanoseconds, and the clock's name. */
export const MONO_NS = 5_000_000_000n;
export const CLOCK = "scripted";

export type Stream = ServerWritableStream<WatchPricesRequest, WatchPricesResponse>;

/** A price that is fresh for 10 s and stale after 30 s. */
export function price(asset: string, text: string, sequence: bigint, more: MessageInitShape<typeof PriceSchema> = {}): Price {
  return create(PriceSchema, {
    asset,
    price: text,
    quote: "USD",
    state: State.FRESH,
    sequence,
    epoch: 1n,
    receiveTime: timestampFromMs(WALL_MS),
    freshUntil: timestampFromMs(WALL_MS + 10_000),
    staleAt: timestampFromMs(WALL_MS + 30_000),
    ...more,
  });
}

/** A batch that left at the moment above. */
export function batch(prices: Price[], sequence: bigint, more: MessageInitShape<typeof WatchPricesResponseSchema> = {}): WatchPricesResponse {
  return create(WatchPricesResponseSchema, {
    prices,
    sequence,
    epoch: 1n,
    sentTime: timestampFromMs(WALL_MS),
    sentMonotonicNs: MONO_NS,
    clockId: CLOCK,
    ...more,
  });
}

/** A whole snapshot in one batch. */
export function snapshot(prices: Price[], sequence: bigint, more: MessageInitShape<typeof WatchPricesResponseSchema> = {}): WatchPricesResponse {
  return batch(prices, sequence, { snapshot: true, snapshotComplete: true, ...more });
}

/** Serves WatchPrices with `watch` until it is closed. */
export async function served(watch: (stream: Stream) => void): Promise<{ address: string; close: () => void }> {
  const server = new Server();
  const method = PriceService.method.watchPrices;
  server.addService(
    {
      watchPrices: {
        path: `/${PriceService.typeName}/${method.name}`,
        requestStream: false,
        responseStream: true,
        requestSerialize: (message: WatchPricesRequest) => Buffer.from(toBinary(WatchPricesRequestSchema, message)),
        requestDeserialize: (bytes: Buffer) => fromBinary(WatchPricesRequestSchema, bytes),
        responseSerialize: (message: WatchPricesResponse) => Buffer.from(toBinary(WatchPricesResponseSchema, message)),
        responseDeserialize: (bytes: Buffer) => fromBinary(WatchPricesResponseSchema, bytes),
      },
    },
    { watchPrices: watch } as UntypedServiceImplementation,
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { address: `127.0.0.1:${port}`, close: () => server.forceShutdown() };
}
