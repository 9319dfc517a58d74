/** What fails, as the mesh tells it: google.rpc.Status with its details, read into one typed error. */

import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { status as Code, type ServiceError } from "@grpc/grpc-js";

import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema, type Status } from "./gen/google/rpc/status_pb.js";

export { Code };

/** `domain` of the reasons in docs/errors.md. */
export const DOMAIN = "trinity-beast";

const DETAILS = "grpc-status-details-bin";

/** Reasons for codes that come without details, from a proxy or a peer that is gone. */
const BY_CODE: ReadonlyMap<Code, string> = new Map([
  [Code.CANCELLED, "CANCELLED"],
  [Code.INVALID_ARGUMENT, "INVALID_FIELD"],
  [Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"],
  [Code.NOT_FOUND, "UNKNOWN_PATH"],
  [Code.PERMISSION_DENIED, "MISSING_SCOPE"],
  [Code.RESOURCE_EXHAUSTED, "RATE_LIMITED"],
  [Code.UNIMPLEMENTED, "UNIMPLEMENTED"],
  [Code.INTERNAL, "INTERNAL"],
  [Code.UNAVAILABLE, "BACKEND_UNAVAILABLE"],
  [Code.UNAUTHENTICATED, "INVALID_KEY"],
]);

/** A field that a request was refused for. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What a {@link TrinityError} knows besides its reason and message. */
export interface ErrorDetails {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number | undefined;
  readonly violations?: readonly FieldViolation[];
  readonly requestId?: string;
}

/** Everything that this client throws for what the mesh, or the way to it, did not do. */
export class TrinityError extends Error {
  override readonly name = "TrinityError";
  /** Why, from the table in docs/errors.md: "STALE_PRICE". */
  readonly reason: string;
  /** gRPC's status code. */
  readonly code: Code;
  /** Facts for programs, such as `nearest`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** When a repetition makes sense, milliseconds; undefined where none does. */
  readonly retryAfterMs: number | undefined;
  readonly violations: readonly FieldViolation[];
  /** What to name when you report an error; empty where the answer did not say. */
  readonly requestId: string;

  constructor(reason: string, code: Code, message: string, details: ErrorDetails = {}) {
    super(message);
    this.reason = reason;
    this.code = code;
    this.metadata = details.metadata ?? {};
    this.retryAfterMs = details.retryAfterMs;
    this.violations = details.violations ?? [];
    this.requestId = details.requestId ?? "";
  }
}

/** The error that a google.rpc.Status tells of, such as one of a batch. */
export function fromStatus(status: Status): TrinityError {
  const code = codeOf(status.code);
  let reason = BY_CODE.get(code) ?? "BACKEND_ERROR";
  let metadata: Record<string, string> = {};
  let retryAfterMs: number | undefined;
  let violations: FieldViolation[] = [];
  let requestId = "";
  for (const detail of status.details) {
    const info = anyUnpack(detail, ErrorInfoSchema);
    if (info !== undefined) {
      metadata = { ...info.metadata };
      if (info.domain === DOMAIN) reason = info.reason;
      continue;
    }
    const retry = anyUnpack(detail, RetryInfoSchema);
    if (retry?.retryDelay !== undefined) retryAfterMs = durationMs(retry.retryDelay);
    const bad = anyUnpack(detail, BadRequestSchema);
    if (bad !== undefined) violations = bad.fieldViolations.map(({ field, description }) => ({ field, description }));
    const request = anyUnpack(detail, RequestInfoSchema);
    if (request !== undefined) requestId = request.requestId;
  }
  return new TrinityError(reason, code, status.message, { metadata, retryAfterMs, violations, requestId });
}

/** The error of a call that failed. Where it has no details, or ones that contradict it, the code alone decides. */
export function fromServiceError(error: ServiceError): TrinityError {
  for (const value of error.metadata?.get(DETAILS) ?? []) {
    if (typeof value === "string") continue;
    try {
      const status = fromBinary(StatusSchema, value);
      if (status.code === error.code) return fromStatus(status);
    } catch {
      break;
    }
  }
  const code = codeOf(error.code);
  return new TrinityError(BY_CODE.get(code) ?? "BACKEND_ERROR", code, error.details || Code[code]);
}

/** The same for whatever was thrown; what is no error of a call stays as it is. */
export function renamed(error: unknown): unknown {
  const isCall = error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
  return isCall ? fromServiceError(error as ServiceError) : error;
}

function codeOf(number: number): Code {
  return number > 0 && number in Code ? number : Code.UNKNOWN;
}
