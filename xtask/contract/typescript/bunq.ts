// The client that openapi-typescript and openapi-fetch make of the document, with bunq's signatures on it.

import { createPublicKey, generateKeyPairSync, randomUUID, sign, verify, type KeyObject } from "node:crypto";
import createClient, { type Client, type Middleware } from "openapi-fetch";
import type { Answers } from "./answers.js";
import type { paths } from "./schema.js";

export type Bunq = Client<paths>;

// The document demands both in every request.
export const HEADERS = { "Cache-Control": "no-cache", "User-Agent": "bunq-partner-contract/1.0" } as const;

export class Context {
  readonly keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
  token: string | undefined;
  serverKey: KeyObject | undefined;
  verified = 0;
  lastAnswer: { status: number; headers: [string, string][]; body: Buffer } | undefined;

  publicKeyPem(): string {
    return this.keys.publicKey.export({ type: "spki", format: "pem" }).toString();
  }

  client(baseUrl: string, answers: Answers): Bunq {
    // Several statuses go into one parameter.
    const client = createClient<paths>({ baseUrl, querySerializer: { array: { style: "form", explode: false } } });
    // The last comes first to an answer: none is read before it is verified.
    client.use(answers.middleware(), this.middleware());
    return client;
  }

  private middleware(): Middleware {
    return {
      onRequest: async ({ request }) => {
        request.headers.set("X-Bunq-Client-Request-Id", randomUUID());
        if (this.token === undefined) return;
        request.headers.set("X-Bunq-Client-Authentication", this.token);
        const body = Buffer.from(await request.clone().arrayBuffer());
        if (body.length > 0) request.headers.set("X-Bunq-Client-Signature", signBody(this.keys.privateKey, body));
      },
      onResponse: async ({ response }) => {
        if (!response.ok) return;
        const answer = {
          status: response.status,
          headers: [...response.headers],
          body: Buffer.from(await response.clone().arrayBuffer()),
        };
        // The first answer brings the key that it is verified with.
        const key = this.serverKey ?? introducedKey(answer.body);
        if (!verifies(key, answer.status, answer.headers, answer.body)) throw new Error("an answer is not bunq's");
        this.serverKey = key;
        this.lastAnswer = answer;
        this.verified += 1;
      },
    };
  }
}

export function signBody(key: KeyObject | string, body: Buffer): string {
  return sign("sha256", body, key).toString("base64");
}

/** Whether an answer carries the signature of `key`, in the form over the body or the older one with the headers. */
export function verifies(
  key: KeyObject | string,
  status: number,
  headers: readonly (readonly [string, string])[],
  body: Buffer,
): boolean {
  const named = headers.map(([name, value]) => [canonical(name), value] as const);
  const encoded = named.find(([name]) => name === "X-Bunq-Server-Signature")?.[1];
  if (encoded === undefined) return false;
  const signature = Buffer.from(encoded, "base64");
  // Buffer leaves out what is not base64, where a verifier has to refuse.
  if (signature.toString("base64") !== encoded) return false;
  const lines = named
    .filter(([name]) => name.startsWith("X-Bunq-") && name !== "X-Bunq-Server-Signature")
    .map(([name, value]) => `${name}: ${value}\n`)
    .sort();
  const older = Buffer.concat([Buffer.from(`${status}\n${lines.join("")}\n`), body]);
  return verify("sha256", body, key, signature) || verify("sha256", older, key, signature);
}

function canonical(name: string): string {
  return name.toLowerCase().replace(/(^|-)([a-z])/g, (start) => start.toUpperCase());
}

function introducedKey(body: Buffer): KeyObject {
  const answer = JSON.parse(body.toString()) as { Response: { ServerPublicKey?: { server_public_key: string } }[] };
  const pem = answer.Response.find((item) => item.ServerPublicKey)?.ServerPublicKey?.server_public_key;
  if (pem === undefined) throw new Error("the installation brings no key");
  return createPublicKey(pem);
}
