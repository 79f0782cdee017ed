// Proves the generated client: with the vectors, then from nothing to a closed provision.
//
// Takes BUNQ_BASE_URL, BUNQ_API_KEY and BUNQ_OPENAPI, the folder of the document and the vectors. Prints each step that is done.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import createClient from "openapi-fetch";
import { bunqsKey, Context, fileBody, HEADERS, signBody, verifies, type Bunq } from "./bunq.js";
import { BunqError, Document } from "./document.js";
import type { components } from "./schema.js";

type Provision = components["schemas"]["Provision"];

// bunq allows three reads in three seconds; the sandbox keeps no limit unless asked to.
const PAUSE_MS = 20;
const MOST_READS = 100;

const params = { header: HEADERS };

// No text has all of them.
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function done(step: string, detail: string | number): void {
  console.log(`${step}: ${detail}`);
}

/** The data of a success response, which is never a default in place of what is missing. */
function data<T>(response: { data?: T; response: Response }): T {
  if (response.data === undefined) throw new Error(`${response.response.status}: the response is empty`);
  return response.data;
}

/** The member `name` of the one item that has it, wherever it stands. */
function find<T extends object, K extends keyof T>(items: T[], name: K): NonNullable<T[K]> {
  for (const item of items) {
    const found = item[name];
    if (found !== undefined && found !== null) return found;
  }
  throw new Error(`the response has no ${String(name)}`);
}

interface SigningCase {
  name: string;
  private_key_pem: string;
  body: string;
  signature: string;
}

interface VerifyingCase {
  name: string;
  public_key_pem: string;
  status: number;
  headers: [string, string][];
  body: string;
  valid: boolean;
}

interface KeyCase {
  name: string;
  public_key_pem: string;
  usable: boolean;
}

interface TextCase {
  name: string;
  schema: string;
  text: string;
  valid: boolean;
}

interface DecodingCase {
  name: string;
  operation: string;
  callback?: string;
  status: number;
  body: unknown;
  bytes?: string;
  expect?: Record<string, unknown>;
  refuse?: true;
  int64?: true;
  lenient?: true;
}

function cases<T>(name: string): T[] {
  const file = join(setting("BUNQ_OPENAPI"), "vectors", name);
  const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: T[] };
  if (cases.length === 0) throw new Error(`${name} has no cases`);
  return cases;
}

async function proveByVectors(document: Document): Promise<void> {
  const signing = cases<SigningCase>("signing.json");
  for (const { name, private_key_pem, body, signature } of signing) {
    if (signBody(private_key_pem, Buffer.from(body)) !== signature) throw new Error(`signing: ${name}`);
  }
  const verifying = cases<VerifyingCase>("verifying.json");
  for (const { name, public_key_pem, status, headers, body, valid } of verifying) {
    if (verifies(public_key_pem, status, headers, Buffer.from(body)) !== valid) throw new Error(`verifying: ${name}`);
  }
  const keys = cases<KeyCase>("keys.json");
  for (const { name, public_key_pem, usable } of keys) {
    if (isUsable(public_key_pem) !== usable) throw new Error(`keys: ${name}`);
  }
  const texts = cases<TextCase>("texts.json");
  for (const { name, schema, text, valid } of texts) {
    if (document.takes(schema, text) !== valid) throw new Error(`texts: ${name}`);
  }
  const decoding = cases<DecodingCase>("decoding.json");
  // This client validates each response as it is. One that reads odd values as absent has to take them out before.
  for (const one of decoding.filter(({ lenient }) => !lenient)) {
    const decoded = await decode(document, one);
    const isRefused = one.refuse === true || one.int64 === true;
    if ((decoded === undefined) !== isRefused) throw new Error(`decoding: ${one.name}`);
    if (isRefused) continue;
    if (one.bytes !== undefined && decoded !== one.bytes) throw new Error(`decoding: ${one.name}: the bytes are others`);
    for (const [pointer, expected] of Object.entries(one.expect ?? {})) {
      const shown = at(decoded, pointer);
      const isNothing = shown === null || (Array.isArray(shown) && shown.length === 0);
      if (expected === null ? !isNothing : !isDeepStrictEqual(shown, expected)) {
        throw new Error(`decoding: ${one.name}: ${pointer} is ${JSON.stringify(shown)}`);
      }
    }
  }
  done("vectors", signing.length + verifying.length + keys.length + texts.length + decoding.length);
}

function isUsable(pem: string): boolean {
  try {
    bunqsKey(pem);
    return true;
  } catch {
    return false;
  }
}

/** What is made of a response, or of what bunq sends by itself; undefined if it is refused. */
async function decode(document: Document, { operation: id, callback, status, body, bytes }: DecodingCase): Promise<unknown> {
  if (callback !== undefined) return document.receives(callback, body) ? body : undefined;
  const isFile = bytes !== undefined;
  const bunq = async () => new Response(isFile ? Buffer.from(bytes, "hex") : JSON.stringify(body), { status });
  const client = createClient<Record<string, any>>({ baseUrl: "http://bunq", fetch: bunq });
  client.use(document.middleware());
  const { method, path } = document.operation((operation) => operation.id === id);
  try {
    const parseAs = isFile ? "arrayBuffer" : "json";
    const { data } = await client.request(method.toLowerCase() as "get", path, { parseAs });
    return isFile ? Buffer.from(data).toString("hex") : data;
  } catch (error) {
    if (error instanceof BunqError) return error.response;
    throw error;
  }
}

/** What a JSON pointer leads to; null if there is nothing. */
function at(value: unknown, pointer: string): unknown {
  const names = pointer.split("/").slice(1);
  return names.reduce((value: any, name) => value?.[name] ?? null, value);
}

/** Opens a session, and returns the id of its user. */
async function authenticate(client: Bunq, context: Context): Promise<number> {
  const secret = setting("BUNQ_API_KEY");
  const key = { client_public_key: context.publicKeyPem() };
  const installed = data(await client.POST("/installation", { params, body: key }));
  context.tokens.installation = find(installed.Response, "Token").token;
  data(await client.POST("/device-server", { params, body: { description: "contract", secret } }));
  const opened = data(await client.POST("/session-server", { params, body: { secret } }));
  context.tokens.session = find(opened.Response, "Token").token;
  done("authenticate", `session ${find(opened.Response, "Id").id}`);
  return find([find(opened.Response, "UserCompany")], "id");
}

/** Uploads a file of each content type, and downloads it again. */
async function exchangeFiles(client: Bunq, document: Document, user_id: number): Promise<void> {
  const { contentTypes } = document.operation(({ id }) => id === "create_attachment");
  if (contentTypes === undefined) throw new Error("the document has no files");
  const files = Object.entries(contentTypes["x-bunq-files"]);
  for (const [type, example] of files) {
    const file = Buffer.concat([Buffer.from(example, "hex"), ALL_BYTES]);
    const header = { ...HEADERS, "X-Bunq-Attachment-Description": "contract" };
    const upload = { params: { header, path: { user_id } }, body: fileBody(file) };
    const uploaded = data(await client.POST("/user/{user_id}/attachment", upload));
    const params = { header: HEADERS, path: { user_id, attachment_id: find(uploaded.Response, "Id").id } };
    const described = data(await client.GET("/user/{user_id}/attachment/{attachment_id}", { params }));
    const { attachment } = find(described.Response, "AttachmentUser");
    if (attachment?.content_type !== type) throw new Error(`${type} was taken for ${attachment?.content_type}`);
    const download = { params, parseAs: "arrayBuffer" } as const;
    const downloaded = await client.GET("/user/{user_id}/attachment/{attachment_id}/content", download);
    if (!file.equals(Buffer.from(data(downloaded)))) throw new Error(`${type} came back as another file`);
    const served = downloaded.response.headers.get("Content-Type");
    if (served !== type) throw new Error(`${type} came back as ${served}`);
  }
  done("files", files.length);
}

async function create(client: Bunq): Promise<number> {
  const external_uuid = randomUUID();
  const body = {
    external_uuid,
    user_verified_type: "PARTNER_USER_PERSON",
    email: "user@example.com",
    phone_number: "+31600000000",
    products: ["USER_VERIFIED"],
  } satisfies components["schemas"]["NewProvision"];
  const created = data(await client.POST("/partner-user-provision", { params, body }));
  const id = created.Response.map((item) => item.Id?.id ?? item.PartnerUserProvision?.id).find((id) => id !== undefined);
  if (id === undefined) throw new Error("the creation returns no id");

  const query = { status: ["CREATED" as const, "ACTIVE" as const], external_uuid };
  const listed = data(await client.GET("/partner-user-provision", { params: { header: HEADERS, query } }));
  if (find(listed.Response, "PartnerUserProvision").id !== id) throw new Error("the list has another provision");
  done("create", `provision ${id}`);
  return id;
}

async function follow(client: Bunq, id: number, until: (seen: Provision) => boolean): Promise<string[]> {
  const changes: string[] = [];
  for (let read = 0; read < MOST_READS; read += 1) {
    const path = { provision_id: id };
    const response = data(await client.GET("/partner-user-provision/{provision_id}", { params: { header: HEADERS, path } }));
    const seen = find(response.Response, "PartnerUserProvision");
    const change = `${seen.status}/${seen.sub_status ?? "?"}`;
    if (changes.at(-1) !== change) changes.push(change);
    if (until(seen)) return changes;
    if (seen.status === "FAILED" || seen.status === "CLOSED") break;
    await sleep(PAUSE_MS);
  }
  throw new Error(`provision ${id} did not get there: ${changes.join(", ")}`);
}

function isReady({ credential }: Provision): boolean {
  return credential?.status === "PENDING_FIRST_USE" && credential.token_value !== null;
}

async function close(client: Bunq, id: number): Promise<void> {
  const path = { provision_id: id };
  const body = { status: "CANCELLED" } as const;
  data(await client.PUT("/partner-user-provision/{provision_id}", { params: { header: HEADERS, path }, body }));
  const changes = await follow(client, id, (seen) => seen.status === "CLOSED" && seen.credential === null);
  data(await client.DELETE("/session/{session_id}", { params: { header: HEADERS, path: { session_id: 0 } } }));
  done("close", changes.join(", "));
}

function proveVerification({ serverKey, lastResponse, verified }: Context): void {
  if (serverKey === undefined || lastResponse === undefined) throw new Error("nothing was verified");
  const { status, headers, body } = lastResponse;
  if (verifies(serverKey, status, headers, Buffer.concat([body, Buffer.from(" ")]))) {
    throw new Error("a changed response passes");
  }
  done("verify", verified);
}

const bunqs = new Document(join(setting("BUNQ_OPENAPI"), "bunq-partner.yaml"));
await proveByVectors(bunqs);
const context = new Context(bunqs);
const client = context.client(setting("BUNQ_BASE_URL"));
const user = await authenticate(client, context);
await exchangeFiles(client, bunqs, user);
const id = await create(client);
done("follow", (await follow(client, id, isReady)).join(", "));
await close(client, id);
proveVerification(context);
