/**
 * Datagrams, byte for byte as docs/udp.md has them: the binary form, and the MACs of both forms. Pure.
 *
 *     offset  bytes
 *          0      1  version, 0xF1
 *          1      1  flags
 *          2      2  length of the payload
 *          4      8  id of the request, the client's own; comes back in the reply
 *         12      8  id of the session; 0 without one
 *         20      4  unix seconds
 *         24      4  sequence
 *         28      n  payload, protobuf
 *                 24 cookie, where flagged
 *                 16 MAC, where flagged
 */

import { createHmac, timingSafeEqual } from "node:crypto";

/** Flags of a datagram. */
export const Flag = { RESPONSE: 1, MAC: 2, COOKIE: 4, TRUNCATED: 8, REFUSED: 16 } as const;

export const COOKIE_BYTES = 24;
export const MAC_BYTES = 16;

const VERSION = 0xf1;
const HEAD_BYTES = 28;
const FLAGS = 31;

/** What a datagram is made of. */
export interface FrameParts {
  readonly flags: number;
  /** 8 bytes. */
  readonly requestId: Uint8Array;
  readonly sessionId: bigint;
  readonly unixS: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
  /** 24 bytes, where flagged. */
  readonly cookie?: Uint8Array | undefined;
}

/** A datagram, taken apart. */
export interface Frame extends FrameParts {
  readonly mac: Uint8Array | undefined;
  /** Everything before the MAC. */
  readonly signed: Uint8Array;
}

/** A datagram up to its MAC. */
export function makeFrame(parts: FrameParts): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(VERSION, 0);
  head.writeUInt8(parts.flags, 1);
  head.writeUInt16BE(parts.payload.length, 2);
  head.set(parts.requestId, 4);
  head.writeBigUInt64BE(parts.sessionId, 12);
  head.writeUInt32BE(parts.unixS, 20);
  head.writeUInt32BE(parts.sequence, 24);
  return Buffer.concat([head, parts.payload, parts.cookie ?? new Uint8Array()]);
}

/** The frame that a datagram is; undefined for one that is none. */
export function readFrame(datagram: Buffer): Frame | undefined {
  if (datagram.length < HEAD_BYTES || datagram[0] !== VERSION) return undefined;
  const flags = datagram.readUInt8(1);
  if ((flags & ~FLAGS) !== 0) return undefined;
  const end = HEAD_BYTES + datagram.readUInt16BE(2);
  const cookieEnd = end + (flags & Flag.COOKIE ? COOKIE_BYTES : 0);
  if (cookieEnd + (flags & Flag.MAC ? MAC_BYTES : 0) !== datagram.length) return undefined;
  return {
    flags,
    requestId: datagram.subarray(4, 12),
    sessionId: datagram.readBigUInt64BE(12),
    unixS: datagram.readUInt32BE(20),
    sequence: datagram.readUInt32BE(24),
    payload: datagram.subarray(HEAD_BYTES, end),
    cookie: flags & Flag.COOKIE ? datagram.subarray(end, cookieEnd) : undefined,
    mac: flags & Flag.MAC ? datagram.subarray(cookieEnd) : undefined,
    signed: datagram.subarray(0, cookieEnd),
  };
}

/** MAC of a binary request; `signed` is the datagram before it. */
export function queryMac(sessionKey: Uint8Array, signed: Uint8Array): Buffer {
  return half(sessionKey, "q", signed);
}

/** MAC of the reply to the request that had `requestMac`: what is signed so answers that datagram and no other. */
export function replyMac(sessionKey: Uint8Array, requestMac: Uint8Array, signed: Uint8Array): Buffer {
  return half(sessionKey, "r", requestMac, signed);
}

/** Whether a reply is signed by the session's key and bound to the request. */
export function isGenuine(reply: Frame, sessionKey: Uint8Array, requestMac: Uint8Array): boolean {
  return reply.mac !== undefined && timingSafeEqual(reply.mac, replyMac(sessionKey, requestMac, reply.signed));
}

/** The words of a session, as a line carries them. */
export interface LineSession {
  /** 16 hexadecimal digits. */
  readonly id: string;
  readonly key: Uint8Array;
  readonly unixS: number;
  /** Greater than that of every line before; it may be sent once. */
  readonly sequence: number;
}

/** The line to send: `text` ("GET BTC USD id=7") with the words of a session, the MAC last. */
export function signedLine(text: string, session: LineSession): string {
  const line = `${text} s=${session.id} t=${session.unixS} q=${session.sequence}`;
  return `${line} m=${half(session.key, "qt", Buffer.from(line, "ascii")).toString("hex")}`;
}

function half(key: Uint8Array, label: string, ...parts: Uint8Array[]): Buffer {
  const mac = createHmac("sha256", key).update(label);
  for (const part of parts) mac.update(part);
  return mac.digest().subarray(0, MAC_BYTES);
}
