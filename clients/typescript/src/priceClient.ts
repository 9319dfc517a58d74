/** Typed calls to the price service, for what a replica does not answer. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import type { CallOptions, Connection } from "./connection.js";
import { Code, TrinityError, fromStatus } from "./errors.js";
import {
  Method,
  type Asset,
  type ExplainPriceResponse,
  type GetPriceRequestSchema,
  type Price,
  type WatchPricesRequestSchema,
  type WatchPricesResponse,
} from "./gen/trinity/price/v1/price_pb.js";
import { PriceService } from "./gen/trinity/price/v1/price_service_pb.js";

/** What a price must be; each is a field of GetPriceRequest. */
export interface PriceQuery extends CallOptions {
  /** Venue whose own price is wanted; the consolidated price without it. */
  readonly source?: string;
  /** The median without it. */
  readonly method?: Method;
  /** Oldest age that is accepted, milliseconds. */
  readonly maxAgeMs?: number;
  /** Fewest venues that the price must be made of. */
  readonly minSources?: number;
}

/** One asset's outcome in a batch. */
export interface PriceOutcome {
  /** As it was asked for. */
  readonly asset: string;
  readonly price?: Price;
  readonly error?: TrinityError;
}

/** Calls over one connection. Every one throws TrinityError for what fails. */
export class PriceClient {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** One asset's price. */
  async get(asset: string, query: PriceQuery = {}): Promise<Price> {
    const request = { asset, ...fields(query) };
    const { price } = await this.#connection.unary(PriceService.method.getPrice, request, query);
    return price ?? missing("a price");
  }

  /** Several assets' prices, in the order asked, each with its own outcome. */
  async batch(assets: readonly string[], query: PriceQuery = {}): Promise<PriceOutcome[]> {
    const request = { assets: [...assets], ...fields(query) };
    const { results } = await this.#connection.unary(PriceService.method.batchGetPrices, request, query);
    return results.map(({ asset, outcome }) => {
      if (outcome.case === "price") return { asset, price: outcome.value };
      return { asset, error: outcome.case === "error" ? fromStatus(outcome.value) : missing("an outcome") };
    });
  }

  /** Every input of a price, and what became of it. */
  explain(asset: string, query: Pick<PriceQuery, "method"> & CallOptions = {}): Promise<ExplainPriceResponse> {
    const request = { asset, method: query.method ?? Method.UNSPECIFIED };
    return this.#connection.unary(PriceService.method.explainPrice, request, query);
  }

  /** All assets, page by page, in the order of the asset table. */
  async *assets(options: CallOptions & { pageSize?: number } = {}): AsyncGenerator<Asset, void, undefined> {
    let pageToken = "";
    do {
      const request = { pageSize: options.pageSize ?? 0, pageToken };
      const page = await this.#connection.unary(PriceService.method.listAssets, request, options);
      yield* page.assets;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** The raw batches of one stream, for those who want to build something else than a {@link PriceBook}. */
  watch(
    request: MessageInitShape<typeof WatchPricesRequestSchema>,
    options: CallOptions = {},
  ): AsyncGenerator<WatchPricesResponse, void, undefined> {
    return this.#connection.stream(PriceService.method.watchPrices, request, options);
  }
}

function fields(query: PriceQuery): Omit<MessageInitShape<typeof GetPriceRequestSchema>, "asset" | "$typeName"> {
  return {
    source: query.source ?? "",
    method: query.method ?? Method.UNSPECIFIED,
    minSources: query.minSources ?? 0,
    ...(query.maxAgeMs === undefined ? {} : { maxAge: durationFromMs(query.maxAgeMs) }),
  };
}

function missing(what: string): never {
  throw new TrinityError("BACKEND_ERROR", Code.UNKNOWN, `the answer has not ${what}`);
}
