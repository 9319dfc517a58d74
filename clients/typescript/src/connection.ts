/** A connection to one service of the mesh: address, key, TLS, deadlines; errors already renamed. */

import { readFileSync } from "node:fs";

import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Client, Metadata, credentials, type ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";

import { renamed } from "./errors.js";

/** TLS to the server; with `cert` and `key` mutual TLS. All PEM. */
export interface Tls {
  /** Certificates of the CAs that vouch for the server; the system's without it. */
  readonly ca?: Buffer;
  /** This caller's certificate, then those between it and its CA. */
  readonly cert?: Buffer;
  /** The certificate's private key. */
  readonly key?: Buffer;
  /** Name that the server's certificate must have, where it isn't the address's: "price.trinity.internal". */
  readonly serverName?: string;
}

/** How to reach a service. */
export interface ConnectionOptions {
  /** "host:port" or "unix:/path". */
  readonly address: string;
  /** API key, sent with every call; not for sockets of the mesh itself. */
  readonly apiKey?: string;
  /** Without it the connection is plain: for this machine and networks that encrypt by themselves. */
  readonly tls?: Tls;
  /** Deadline of a call that names none, milliseconds; 5000 by default. Streams have none. */
  readonly timeoutMs?: number;
}

/** What one call may say for itself. */
export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MESSAGE_BYTES_MAX = 16 << 20;

/** Read {@link Tls} from files, as `trinity certs` writes them. */
export function tlsFromFiles(files: { ca?: string; cert?: string; key?: string; serverName?: string }): Tls {
  return {
    ...(files.ca === undefined ? {} : { ca: readFileSync(files.ca) }),
    ...(files.cert === undefined ? {} : { cert: readFileSync(files.cert) }),
    ...(files.key === undefined ? {} : { key: readFileSync(files.key) }),
    ...(files.serverName === undefined ? {} : { serverName: files.serverName }),
  };
}

/** One channel. Give it to as many clients as you like, and close it when they are done. */
export class Connection {
  readonly #client: Client;
  readonly #metadata = new Metadata();
  readonly #timeoutMs: number;

  constructor(options: ConnectionOptions) {
    if (options.tls !== undefined && (options.tls.cert === undefined) !== (options.tls.key === undefined)) {
      throw new TypeError("tls needs cert and key together, or neither");
    }
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    if (options.apiKey !== undefined) this.#metadata.set("authorization", `Bearer ${options.apiKey}`);
    this.#client = new Client(options.address, channelCredentials(options.tls), channelOptions(options.tls));
  }

  /** One answer to one request. Throws TrinityError. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    { timeoutMs, signal }: CallOptions = {},
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const call = this.#client.makeUnaryRequest(
        path(method),
        (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        create(method.input, request),
        this.#metadata,
        { deadline: Date.now() + (timeoutMs ?? this.#timeoutMs) },
        (error, answer) => {
          signal?.removeEventListener("abort", cancel);
          if (error !== null) reject(renamed(error) as Error);
          else resolve(answer as MessageShape<O>);
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  /** The answers of a stream, until it ends, `signal` is aborted or the loop is left. Throws TrinityError. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    { timeoutMs, signal }: CallOptions = {},
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    signal?.throwIfAborted();
    const call = this.#client.makeServerStreamRequest(
      path(method),
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      create(method.input, request),
      this.#metadata,
      timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs },
    );
    // The loop below hears of errors; one that comes after it was left is nobody's.
    call.on("error", () => undefined);
    const cancel = (): void => call.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      for await (const message of call) yield message as MessageShape<O>;
    } catch (error) {
      throw renamed(error);
    } finally {
      signal?.removeEventListener("abort", cancel);
      call.cancel();
    }
  }

  /** End the channel; what is under way fails. */
  close(): void {
    this.#client.close();
  }
}

function path(method: DescMethodUnary | DescMethodServerStreaming): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function channelCredentials(tls: Tls | undefined): ChannelCredentials {
  return tls === undefined
    ? credentials.createInsecure()
    : credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null);
}

function channelOptions(tls: Tls | undefined): ChannelOptions {
  return {
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    // Each connection lives its own life, as in the other clients.
    "grpc.use_local_subchannel_pool": 1,
    ...(tls?.serverName === undefined
      ? {}
      : { "grpc.ssl_target_name_override": tls.serverName, "grpc.default_authority": tls.serverName }),
  };
}
