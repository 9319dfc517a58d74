/**
 * Prices over UDP, in its binary form: signed, checked, asked again where a datagram is lost.
 *
 *     const session = await openUdpSession("http://127.0.0.1:8080", apiKey);
 *     const client = new UdpClient("127.0.0.1", 2679, session);
 *     console.log((await client.get("BTC")).price);
 *     client.close();
 *
 * Every try is a datagram with a sequence of its own, so that one that was answered is never answered twice. What is
 * not signed by the session's key is no answer. One asset a question; docs/udp.md tells how to ask for several.
 */

import { randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { setTimeout as sleep } from "node:timers/promises";

import { create, createRegistry, fromBinary, fromJson, toBinary } from "@bufbuild/protobuf";

import { Code, TrinityError, fromStatus } from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import { CreateUdpSessionResponseSchema } from "./gen/trinity/account/v1/account_pb.js";
import { UdpQuerySchema, UdpReplySchema, type UdpReply, type UdpResult } from "./gen/trinity/price/v1/price_pb.js";
import { Flag, isGenuine, makeFrame, queryMac, readFrame } from "./udpFrame.js";

/** An open session; its key signs every datagram and never travels in one. */
export interface UdpSession {
  readonly id: bigint;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** When it ends, unix seconds. */
  readonly expireS: number;
}

/** One price, as a datagram tells it. */
export interface UdpPrice extends UdpResult {
  /** The price is simulated and must not be used as a market price. */
  readonly sandbox: boolean;
}

const SESSIONS = "/v1/udp/sessions";
const HTTP_MS = 10_000;
const DETAILS = createRegistry(BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema);

/** Open a session at a gateway ("https://host"); the key goes there and nowhere else. Throws TrinityError. */
export async function openUdpSession(url: string, apiKey: string): Promise<UdpSession> {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const init = { method: "POST", body: "{}", headers, signal: AbortSignal.timeout(HTTP_MS) };
  const response = await fetch(url.replace(/\/+$/, "") + SESSIONS, init);
  const said = (await response.json()) as Parameters<typeof fromJson>[1];
  const reading = { ignoreUnknownFields: true, registry: DETAILS };
  if (!response.ok) throw fromStatus(fromJson(StatusSchema, said, reading));
  const made = fromJson(CreateUdpSessionResponseSchema, said, reading);
  return { id: BigInt(`0x${made.sessionId}`), key: made.sessionKey, expireS: Number(made.expireTime?.seconds ?? 0n) };
}

/** One socket to a gateway's port for prices. Without a session its demonstration answers, unsigned. */
export class UdpClient {
  /** Replies that were not what they have to be: a wrong MAC, an unknown question, no frame at all. */
  forged = 0;
  readonly #socket: Socket;
  readonly #place: readonly [port: number, host: string];
  readonly #session: UdpSession | undefined;
  readonly #timeoutMs: number;
  readonly #tries: number;
  readonly #asked = new Map<string, Asked>();
  #sequence = 0;

  constructor(host: string, port: number, session?: UdpSession, options: { timeoutMs?: number; tries?: number } = {}) {
    this.#place = [port, host];
    this.#session = session;
    this.#timeoutMs = options.timeoutMs ?? 500;
    this.#tries = options.tries ?? 4;
    this.#socket = createSocket(host.includes(":") ? "udp6" : "udp4", (datagram) => this.#receive(datagram));
    // A port that nobody listens at: the question waits for its time, and says so.
    this.#socket.on("error", () => undefined);
  }

  /** One asset's price. Throws TrinityError: what the gateway says, DEADLINE_EXCEEDED where it says nothing. */
  async get(asset: string): Promise<UdpPrice> {
    const payload = toBinary(UdpQuerySchema, create(UdpQuerySchema, { assets: [asset] }));
    const sent: string[] = [];
    let take: (reply: UdpReply) => void = () => undefined;
    const answer = new Promise<UdpReply>((resolve) => (take = resolve));
    try {
      for (let tries = this.#tries; tries > 0; tries -= 1) {
        sent.push(this.#send(payload, take));
        const reply = await Promise.race([answer, sleep(this.#timeoutMs)]);
        if (reply !== undefined) return priceIn(reply);
      }
    } finally {
      for (const id of sent) this.#asked.delete(id);
    }
    throw new TrinityError("DEADLINE_EXCEEDED", Code.DEADLINE_EXCEEDED, `no answer to ${this.#tries} datagrams`);
  }

  /** Give the socket back. */
  close(): void {
    this.#socket.close();
  }

  /** One try; its request id. */
  #send(payload: Uint8Array, take: Asked["take"]): string {
    const requestId = randomBytes(8);
    const session = this.#session;
    const made = makeFrame({
      flags: session === undefined ? 0 : Flag.MAC,
      requestId,
      sessionId: session?.id ?? 0n,
      unixS: Math.floor(Date.now() / 1_000),
      sequence: (this.#sequence += 1),
      payload,
    });
    const mac = session === undefined ? Buffer.alloc(0) : queryMac(session.key, made);
    this.#asked.set(requestId.toString("hex"), { mac, take });
    this.#socket.send(Buffer.concat([made, mac]), ...this.#place);
    return requestId.toString("hex");
  }

  #receive(datagram: Buffer): void {
    const frame = readFrame(datagram);
    const asked = frame && this.#asked.get(Buffer.from(frame.requestId).toString("hex"));
    const isReply = frame !== undefined && (frame.flags & Flag.RESPONSE) !== 0;
    const session = this.#session;
    if (!isReply || !asked || (session !== undefined && !isGenuine(frame, session.key, asked.mac))) {
      this.forged += 1;
      return;
    }
    try {
      asked.take(fromBinary(UdpReplySchema, frame.payload));
    } catch {
      this.forged += 1;
    }
  }
}

/** A question that waits. */
interface Asked {
  readonly mac: Buffer;
  readonly take: (reply: UdpReply) => void;
}

function priceIn(reply: UdpReply): UdpPrice {
  const [result] = reply.results;
  if (result?.price) return { ...result, sandbox: reply.sandbox };
  const reason = (result?.reason ?? reply.reason) || "NO_PRICE";
  const detail = result?.detail ?? reply.detail;
  throw new TrinityError(reason, Code.UNKNOWN, `${reason} ${detail}`.trim());
}
