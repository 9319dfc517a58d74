/** A way to a server that a test can cut: a proxy for TCP. */

import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** Stands before "host:port" or "unix:/path"; what runs through it may be TLS or not. */
export class CuttingProxy {
  readonly #open = new Set<Socket>();
  readonly #server;
  /** Connections that were cut. */
  cuts = 0;

  private constructor(address: string) {
    const colon = address.lastIndexOf(":");
    const place = address.startsWith("unix:")
      ? { path: address.slice("unix:".length) }
      : { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
    this.#server = createServer((near) => {
      const far = connect(place);
      for (const [one, other] of [[near, far], [far, near]] as const) {
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
      }
      this.#open.add(near);
      near.on("close", () => this.#open.delete(near));
    });
  }

  static async before(address: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(address);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Break every connection; new ones are taken. */
  cut(): void {
    for (const socket of this.#open) {
      socket.resetAndDestroy();
      this.cuts += 1;
    }
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}
