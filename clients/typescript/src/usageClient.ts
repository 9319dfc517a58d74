/** Reports of what was answered to a key, its associate or, for admins, anybody. */

import type { MessageInitShape } from "@bufbuild/protobuf";

import type { CallOptions, Connection } from "./connection.js";
import type {
  ListUsageRequestSchema,
  SummarizeUsageRequestSchema,
  SummarizeUsageResponse,
  UsageRow,
} from "./gen/trinity/report/v1/report_pb.js";
import { ReportService } from "./gen/trinity/report/v1/report_service_pb.js";

/** Which rows: the fields of ListUsageRequest but for its pages. */
export type UsageFilter = Omit<MessageInitShape<typeof ListUsageRequestSchema>, "pageToken" | "$typeName">;

/** What to sum, and by what: the fields of SummarizeUsageRequest. */
export type UsageSummary = Omit<MessageInitShape<typeof SummarizeUsageRequestSchema>, "$typeName">;

/** Calls over one connection to the report service. Every one throws TrinityError for what fails. */
export class UsageClient {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Rows by hour, newest first; pages are fetched as the loop goes on, and no sooner. */
  async *list(filter: UsageFilter = {}, options: CallOptions = {}): AsyncGenerator<UsageRow, void, undefined> {
    let pageToken = "";
    do {
      const request = { ...filter, pageToken };
      const page = await this.#connection.unary(ReportService.method.listUsage, request, options);
      yield* page.rows;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Sums by groups, greatest first. */
  summarize(summary: UsageSummary = {}, options: CallOptions = {}): Promise<SummarizeUsageResponse> {
    return this.#connection.unary(ReportService.method.summarizeUsage, summary, options);
  }
}
