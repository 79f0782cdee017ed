// The client that openapi-typescript and openapi-fetch make of the document, with what it lacks: tokens, headers and
// signatures. It keeps no rate limit, repeats nothing and renews no session.

import { createPublicKey, generateKeyPairSync, randomUUID, sign, verify, type KeyObject } from "node:crypto";
import createClient, { type Client, type Middleware } from "openapi-fetch";
import { check, contentTypeOf, type Document, type Operation } from "./document.js";
import type { paths } from "./schema.js";

export type Bunq = Client<paths>;

const TIMEOUT_MS = 30_000;

// The document demands both in every request.
export const HEADERS = { "Cache-Control": "no-cache", "User-Agent": "bunq-partner-contract/1.0" } as const;

export class Context {
  readonly keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
  readonly tokens: { installation?: string; session?: string } = {};
  serverKey: KeyObject | undefined;
  verified = 0;
  lastResponse: { status: number; headers: [string, string][]; body: Buffer } | undefined;

  constructor(private readonly document: Document) {}

  publicKeyPem(): string {
    return this.keys.publicKey.export({ type: "spki", format: "pem" }).toString();
  }

  client(baseUrl: string): Bunq {
    const client = createClient<paths>({
      baseUrl,
      // Several statuses go into one parameter.
      querySerializer: { array: { style: "form", explode: false } },
      // A redirect would carry the token elsewhere.
      redirect: "manual",
      bodySerializer: (body: unknown) => (body instanceof Uint8Array ? body : JSON.stringify(body)),
      fetch: (request) => fetch(request, { signal: AbortSignal.timeout(TIMEOUT_MS) }),
    });
    // The last comes first to a response: none is read before it is verified.
    client.use(this.document.middleware(), this.middleware());
    return client;
  }

  private middleware(): Middleware {
    return {
      onRequest: async ({ request, schemaPath }) => {
        const operation = this.operation(request.method, schemaPath);
        request.headers.set("X-Bunq-Client-Request-Id", randomUUID());
        // What is signed is what comes, and not what it was packed from.
        request.headers.set("Accept-Encoding", "identity");
        if (operation.auth === "none") return;
        const token = this.tokens[operation.auth];
        if (token === undefined) throw new Error(`there is no token of the ${operation.auth} yet`);
        request.headers.set("X-Bunq-Client-Authentication", token);
        const body = Buffer.from(await request.clone().arrayBuffer());
        // openapi-fetch says that every body is JSON.
        if (operation.contentTypes && request.body) request.headers.set("Content-Type", contentTypeOf(body, operation));
        if (body.length > 0) request.headers.set("X-Bunq-Client-Signature", signBody(this.keys.privateKey, body));
      },
      onResponse: async ({ request, response, schemaPath }) => {
        if (!response.ok) return;
        const body = Buffer.from(await response.clone().arrayBuffer());
        const received = { status: response.status, headers: [...response.headers], body };
        if (this.serverKey === undefined) {
          // The first response brings the key that it is verified with, so it has to be read before.
          check(this.operation(request.method, schemaPath), response, body.toString());
        }
        const key = this.serverKey ?? introducedKey(body);
        if (!verifies(key, received.status, received.headers, received.body)) throw new Error("a response is not bunq's");
        this.serverKey = key;
        this.lastResponse = received;
        this.verified += 1;
      },
    };
  }

  private operation(method: string, path: string): Operation {
    return this.document.operation((operation) => operation.method === method && operation.path === path);
  }
}

/** A file as a body: it is sent as it is, but its generated type is a string. */
export function fileBody(file: Uint8Array): string {
  return file as unknown as string;
}

export function signBody(key: KeyObject | string, body: Buffer): string {
  return sign("sha256", body, key).toString("base64");
}

/** Whether a response carries the signature of `key`, in the form over the body or the older one with the headers. */
export function verifies(
  key: KeyObject | string,
  status: number,
  headers: readonly (readonly [string, string])[],
  body: Buffer,
): boolean {
  const named = new Map(headers.map(([name, value]) => [canonical(name), value]));
  const encoded = named.get("X-Bunq-Server-Signature");
  if (encoded === undefined) return false;
  const signature = Buffer.from(encoded, "base64");
  // Buffer leaves out what is not base64, where a verifier has to refuse.
  if (signature.toString("base64") !== encoded) return false;
  const names = [...named.keys()].filter((name) => name.startsWith("X-Bunq-") && name !== "X-Bunq-Server-Signature");
  const lines = names.sort().map((name) => `${name}: ${named.get(name)}\n`);
  const head = `${status}\n${lines.join("")}\n`;
  // fetch shows each byte of a header as a character.
  const older = Buffer.concat([Buffer.from(head, "latin1"), body]);
  return verify("sha256", body, key, signature) || verify("sha256", older, key, signature);
}

function canonical(name: string): string {
  return name.toLowerCase().replace(/(^|-)([a-z])/g, (start) => start.toUpperCase());
}

function introducedKey(body: Buffer): KeyObject {
  const envelope = JSON.parse(body.toString()) as {
    Response: { ServerPublicKey?: { server_public_key: string } | null }[];
  };
  const pem = envelope.Response.find((item) => item.ServerPublicKey)?.ServerPublicKey?.server_public_key;
  if (pem === undefined) throw new Error("the installation brings no key");
  return bunqsKey(pem);
}

/** bunq's public key. Node also reads keys that are too short. */
export function bunqsKey(pem: string): KeyObject {
  const key = createPublicKey(pem);
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa" || bits < 2048 || bits > 8192) {
    throw new Error("bunq's key is not RSA of 2048 to 8192 bits for PKCS#1 v1.5 padding");
  }
  return key;
}
