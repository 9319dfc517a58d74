/** The receiver's half of webhooks over HTTPS: whether a delivery is genuine, and what it says (docs/webhooks.md). */

import { createHmac, createPublicKey, timingSafeEqual, verify, type KeyObject } from "node:crypto";

import { Code, TrinityError } from "./errors.js";

/** A delivery that is genuine. */
export interface WebhookMessage {
  /** `webhook-id`: the same in every attempt. One that was handled before is the same delivery again. */
  readonly id: string;
  /** `webhook-timestamp`: when this attempt was signed, unix seconds. */
  readonly signedS: number;
  /** Such as "price.tick" or "alert.crossing". */
  readonly type: string;
  /** When it happened, RFC 3339. */
  readonly timestamp: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** What to answer as the body of a 200; empty for all that is no challenge. */
  readonly challenge: string;
}

/** Header fields as node has them, or any by name. */
export type HeaderFields = Readonly<Record<string, string | readonly string[] | undefined>>;

const SECRET_PREFIX = "whsec_";
const PUBLIC_PREFIX = "whpk_";
const TOLERANCE_S = 300;
const SIGNATURES_MAX = 16;
const VALUE_MAX = 4_096;
const PUBLIC_BYTES = 32;

/**
 * Checks deliveries with the keys of an endpoint: `whsec_…` for `v1`, `whpk_…` for `v1a`. While a rotation lasts, hold
 * the old and the new key. Signatures are compared in constant time.
 */
export class WebhookVerifier {
  readonly #shared: Buffer[] = [];
  readonly #public: KeyObject[] = [];
  readonly #toleranceS: number;
  readonly #unixS: () => number;

  /** Throws TypeError, showing nothing of it, for a key that is none. `unixS` is the wall clock, the machine's by default. */
  constructor(keys: readonly string[], options: { toleranceS?: number; unixS?: () => number } = {}) {
    this.#toleranceS = options.toleranceS ?? TOLERANCE_S;
    this.#unixS = options.unixS ?? (() => Math.floor(Date.now() / 1_000));
    for (const text of keys) {
      const prefix = [SECRET_PREFIX, PUBLIC_PREFIX].find((each) => text.startsWith(each));
      if (prefix === undefined) throw new TypeError(`a key must begin with ${SECRET_PREFIX} or ${PUBLIC_PREFIX}`);
      const data = base64(text.slice(prefix.length));
      if (data === undefined) throw new TypeError(`what follows ${prefix} is not base64`);
      if (prefix === SECRET_PREFIX) this.#shared.push(data);
      else if (data.length !== PUBLIC_BYTES) throw new TypeError(`a ${PUBLIC_PREFIX} key has ${PUBLIC_BYTES} bytes`);
      else this.#public.push(ed25519(data));
    }
    if (this.#shared.length + this.#public.length === 0) throw new TypeError("a verifier needs at least one key");
  }

  /** What a delivery says; `body` is as it came, before any parser. Throws TrinityError INVALID_SIGNATURE, saying why. */
  verify(fields: HeaderFields, body: Uint8Array): WebhookMessage {
    const id = field(fields, "webhook-id");
    const stamp = field(fields, "webhook-timestamp");
    const signatures = field(fields, "webhook-signature");
    if (id === "" || /[ \t\r\n.]/.test(id) || id.length > VALUE_MAX) throw invalid("webhook-id is missing or malformed");
    if (!/^(0|[1-9][0-9]{0,11})$/.test(stamp)) throw invalid("webhook-timestamp is missing or malformed");
    if (Math.abs(Number(stamp) - this.#unixS()) > this.#toleranceS) {
      throw invalid(`webhook-timestamp is further than ${this.#toleranceS} s from now`);
    }
    if (signatures === "" || signatures.length > VALUE_MAX) throw invalid("webhook-signature is missing or too long");
    const content = Buffer.concat([Buffer.from(`${id}.${stamp}.`), body]);
    const genuine = signatures
      .split(" ")
      .slice(0, SIGNATURES_MAX)
      .some((signature) => this.#isOurs(content, signature));
    if (!genuine) throw invalid("no signature is one of the keys'");
    return { id, signedS: Number(stamp), ...read(body) };
  }

  #isOurs(content: Buffer, text: string): boolean {
    const comma = text.indexOf(",");
    const signature = comma < 0 ? undefined : base64(text.slice(comma + 1));
    if (signature === undefined) return false;
    switch (text.slice(0, comma)) {
      case "v1":
        return this.#shared.some((key) => isEqual(createHmac("sha256", key).update(content).digest(), signature));
      case "v1a":
        return this.#public.some((key) => verify(null, content, key, signature));
      default:
        return false;
    }
  }
}

function field(fields: HeaderFields, wanted: string): string {
  for (const [name, value] of Object.entries(fields)) {
    if (name.toLowerCase() === wanted && typeof value === "string") return value;
  }
  return "";
}

function read(body: Uint8Array): Pick<WebhookMessage, "type" | "timestamp" | "data" | "challenge"> {
  let said: unknown;
  try {
    said = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    said = undefined;
  }
  if (!isRecord(said) || typeof said["type"] !== "string" || typeof said["timestamp"] !== "string" || !isRecord(said["data"])) {
    throw invalid("the body is signed, but is no delivery of this kind");
  }
  const { type, timestamp, data } = said;
  const challenge = type === "webhook.challenge" ? data["challenge"] : "";
  return { type, timestamp, data, challenge: typeof challenge === "string" ? challenge : "" };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The bytes of base64 that is whole and canonical; undefined for anything else, which Buffer would take as it can. */
function base64(text: string): Buffer | undefined {
  const data = Buffer.from(text, "base64");
  return data.toString("base64") === text ? data : undefined;
}

function ed25519(data: Buffer): KeyObject {
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: data.toString("base64url") }, format: "jwk" });
}

function isEqual(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

function invalid(why: string): TrinityError {
  return new TrinityError("INVALID_SIGNATURE", Code.UNAUTHENTICATED, why);
}
