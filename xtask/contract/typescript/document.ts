// What the document says at run time: which token an operation takes, and what its responses are.

import { readFileSync } from "node:fs";
import { Ajv, type ValidateFunction } from "ajv";
import type { Middleware } from "openapi-fetch";
import { parse } from "yaml";
import type { components } from "./schema.js";

/** A response that is no success, or cannot be used. Its message holds nothing of the body but bunq's own words. */
export class BunqError extends Error {
  constructor(
    operation: string,
    readonly status: number,
    readonly responseId: string | null,
    problem: string,
    /** What bunq says; nothing where it is not known to be bunq that says it. */
    readonly response?: components["schemas"]["ErrorResponse"],
  ) {
    super(`${operation}: ${status}: ${problem} (response id ${responseId ?? "unknown"})`);
  }
}

export interface Operation {
  id: string;
  method: string;
  path: string;
  auth: "none" | "installation" | "session";
  /** What a success response is, beside an item of the envelope. */
  result: unknown;
  /** Of an operation that sends or returns a file. */
  contentTypes: ContentTypes | undefined;
  validators: Map<string, ValidateFunction>;
}

/** By the content type, in hexadecimal: the bytes that a file can begin with, and a whole file. */
export interface ContentTypes {
  "x-bunq-first-bytes": Record<string, string[]>;
  "x-bunq-files": Record<string, string>;
}

interface Written {
  operationId?: string;
  "x-bunq-auth": Operation["auth"];
  "x-bunq-result": unknown;
  "x-bunq-content-type"?: { $ref: string };
  responses: Record<string, { $ref?: string; content?: Record<string, unknown> }>;
  callbacks?: Record<string, Record<string, Callback>>;
}

interface Callback {
  post: { requestBody: { content: { "application/json": { schema: { $ref: string } } } } };
}

// A number beyond this has been rounded by JSON.parse.
const int64 = { type: "number", validate: Number.isSafeInteger } as const;
const formats = { int64, date: true, email: true, password: true, uuid: true, "bunq-timestamp": true } as const;

export class Document {
  readonly operations: Operation[] = [];
  /** What bunq sends by itself, by the name of the callback. */
  readonly #callbacks = new Map<string, ValidateFunction>();
  readonly #ajv: Ajv;

  constructor(file: string) {
    const document = parse(readFileSync(file, "utf8"));
    const ajv = (this.#ajv = new Ajv({ strict: false, formats }).addSchema(document, "document"));
    for (const [path, item] of Object.entries<Record<string, Written>>(document.paths)) {
      for (const [method, written] of Object.entries(item)) {
        const { operationId: id, "x-bunq-auth": auth, "x-bunq-result": result, responses, callbacks } = written;
        if (id === undefined) continue;
        for (const [name, calls] of Object.entries(callbacks ?? {})) {
          for (const { post } of Object.values(calls)) {
            const { $ref } = post.requestBody.content["application/json"].schema;
            this.#callbacks.set(name, ajv.compile({ $ref: `document${$ref}` }));
          }
        }
        const types = written["x-bunq-content-type"]?.$ref.split("/").at(-1);
        const contentTypes = types === undefined ? undefined : document.components.schemas[types];
        const validators = new Map<string, ValidateFunction>();
        for (const [status, { $ref, content }] of Object.entries(responses)) {
          // A file has no schema.
          if (content !== undefined && !("application/json" in content)) continue;
          const pointer = $ref ?? `#/paths/${path.replaceAll("/", "~1")}/${method}/responses/${status}`;
          const schema = { $ref: `document${encodeURI(pointer)}/content/application~1json/schema` };
          validators.set(status, ajv.compile(schema));
        }
        this.operations.push({ id, method: method.toUpperCase(), path, auth, result, contentTypes, validators });
      }
    }
  }

  operation(matches: (operation: Operation) => boolean): Operation {
    const operation = this.operations.find(matches);
    if (operation === undefined) throw new Error("the document has no such operation");
    return operation;
  }

  /** Whether the schema of that name takes a value. */
  takes(schema: string, value: unknown): boolean {
    return this.#ajv.validate(`document#/components/schemas/${schema}`, value);
  }

  /** Whether a callback has such a body. */
  receives(callback: string, body: unknown): boolean {
    return this.#callbacks.get(callback)?.(body) === true;
  }

  /** Lets through the successes that are as documented; what else there is becomes a BunqError. */
  middleware(): Middleware {
    return {
      onResponse: async ({ request, response, schemaPath }) => {
        const operation = this.operation(({ method, path }) => method === request.method && path === schemaPath);
        check(operation, response, await response.clone().text());
      },
    };
  }
}

/** The content type of a file that an operation takes, by the bytes that it begins with. */
export function contentTypeOf(file: Buffer, { id, contentTypes }: Operation): string {
  for (const [type, beginnings] of Object.entries(contentTypes?.["x-bunq-first-bytes"] ?? {})) {
    if (beginnings.some((beginning) => file.subarray(0, beginning.length / 2).toString("hex") === beginning)) return type;
  }
  throw new Error(`${id}: the file begins as none of those that it takes`);
}

/** Throws unless a response is a success as documented. */
export function check({ id, result, validators }: Operation, { ok, status, headers }: Response, body: string): void {
  if (ok && result === "bytes") return;
  const schema = validators.get(String(status)) ?? (ok ? undefined : validators.get(`${Math.trunc(status / 100)}XX`));
  const responseId = headers.get("X-Bunq-Client-Response-Id");
  const response = parsed(body);
  const fits = schema?.(response) === true;
  if (!ok) {
    const error = fits ? (response as components["schemas"]["ErrorResponse"]) : undefined;
    const said = error?.Error.map((item) => item.error_description).join("; ");
    throw new BunqError(id, status, responseId, said ?? "not in bunq's form", error);
  }
  if (!fits) {
    const { instancePath, message } = schema?.errors?.[0] ?? { instancePath: "", message: "is not documented" };
    throw new BunqError(id, status, responseId, `the response cannot be used: ${instancePath} ${message}`);
  }
}

/** JSON; undefined if it is none. */
function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
