/** Gets a price, reads an error, and follows prices through every cut of the connection. */

import { Code, Connection, PriceBook, PriceClient, State, TrinityError, tlsFromFiles } from "../src/index.js";

const { TRINITY_ADDRESS, TRINITY_KEY, TRINITY_CA, TRINITY_CERT, TRINITY_CERT_KEY, TRINITY_SERVER_NAME, TRINITY_CHANGES } =
  process.env;

/** TLS with a CA, mutual TLS with a certificate too; plain without, for this machine only. */
const connection = new Connection({
  address: TRINITY_ADDRESS ?? "127.0.0.1:50051",
  ...(TRINITY_KEY && { apiKey: TRINITY_KEY }),
  ...(TRINITY_CA && {
    tls: tlsFromFiles({
      ca: TRINITY_CA,
      ...(TRINITY_CERT && TRINITY_CERT_KEY && { cert: TRINITY_CERT, key: TRINITY_CERT_KEY }),
      ...(TRINITY_SERVER_NAME && { serverName: TRINITY_SERVER_NAME }),
    }),
  }),
});

const prices = new PriceClient(connection);
const btc = await prices.get("BTC", { minSources: 1, timeoutMs: 5_000 });
console.log("price", btc.asset, btc.price, State[btc.state]);

try {
  await prices.get("NOPE");
} catch (error) {
  if (!(error instanceof TrinityError)) throw error;
  console.log("error", error.reason, Code[error.code], error.retryAfterMs ?? 0);
}

// The book reconnects and resumes by itself; `state` is judged whenever it is read.
const book = new PriceBook(connection, { assets: ["BTC", "ETH"] });
let left = Number(TRINITY_CHANGES ?? 0); // 0: for ever
for await (const change of book.changes()) {
  console.log("change", change.asset, change.price, State[change.state]);
  if ((left -= 1) === 0) break;
}
book.close();
connection.close();
