/** Signatures `v1` and `v1a` are judged as the project's vectors say. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { TrinityError, WebhookVerifier } from "../src/index.js";

interface Vectors {
  body: string;
  now: number;
  deliveries: {
    name: string;
    keys: string[];
    fields: Record<string, string>;
    body: string;
    now: number;
    says?: { id: string; type: string; challenge: string };
    refused?: string;
  }[];
  bad_keys: string[][];
}

const vectors = JSON.parse(
  readFileSync(new URL("../../../../tests/vectors/webhook.json", import.meta.url), "utf8"),
) as Vectors;

for (const each of vectors.deliveries) {
  test(each.name, () => {
    const verifier = new WebhookVerifier(each.keys, { unixS: () => each.now });
    const verify = (): unknown => {
      const { id, type, challenge } = verifier.verify(each.fields, Buffer.from(each.body));
      return { id, type, challenge };
    };
    if (each.says !== undefined) assert.deepEqual(verify(), each.says);
    else {
      assert.throws(verify, (error: unknown) => {
        assert.ok(error instanceof TrinityError);
        assert.equal(error.reason, "INVALID_SIGNATURE");
        assert.equal(error.message, each.refused);
        return true;
      });
    }
  });
}

test("the vectors hold both schemes, both ways", () => {
  const taken = vectors.deliveries.filter((each) => each.says).map((each) => each.fields["webhook-signature"] ?? "");
  assert.ok(taken.some((signature) => signature.startsWith("v1,")) && taken.some((signature) => signature.startsWith("v1a,")));
  assert.ok(vectors.deliveries.filter((each) => each.refused).length >= 10);
});

test("a verifier without a right key is none and shows nothing of it", () => {
  for (const keys of vectors.bad_keys) {
    assert.throws(
      () => new WebhookVerifier(keys),
      (error: unknown) => error instanceof TypeError && keys.every((key) => !error.message.includes(key.slice(6) || "\0")),
    );
  }
});
