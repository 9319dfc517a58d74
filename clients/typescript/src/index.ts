/** What programs import: `import { Connection, PriceBook } from "trinity-beast"`. */

export { Connection, tlsFromFiles, type CallOptions, type ConnectionOptions, type Tls } from "./connection.js";
export { Code, DOMAIN, TrinityError, fromStatus, type FieldViolation } from "./errors.js";
export { PriceBook, type BookStatus, type PriceBookOptions } from "./priceBook.js";
export { PriceClient, type PriceOutcome, type PriceQuery } from "./priceClient.js";
export { PriceView } from "./view.js";
export { UsageClient, type UsageFilter, type UsageSummary } from "./usageClient.js";
export { UdpClient, openUdpSession, type UdpPrice, type UdpSession } from "./udpClient.js";
export * from "./udpFrame.js";
export { WebhookVerifier, type HeaderFields, type WebhookMessage } from "./webhook.js";
export * from "./gen/trinity/price/v1/price_pb.js";
export { PriceService } from "./gen/trinity/price/v1/price_service_pb.js";
export { Format, GroupBy, type SummarizeUsageResponse, type UsageRow } from "./gen/trinity/report/v1/report_pb.js";
export { ReportService } from "./gen/trinity/report/v1/report_service_pb.js";
