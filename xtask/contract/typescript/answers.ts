// Holds answers against the document, for types check nothing at run time.

import { readFileSync } from "node:fs";
import { Ajv, type ValidateFunction } from "ajv";
import type { Middleware } from "openapi-fetch";
import { parse } from "yaml";

interface Operation {
  operationId: string;
  responses: Record<string, { $ref?: string }>;
}

export class Answers {
  private readonly operations = new Map<string, string>();
  private readonly schemas = new Map<string, ValidateFunction>();

  /** Reads the document, which says of each operation what its answers are for each status. */
  constructor(file: string) {
    const document = parse(readFileSync(file, "utf8"));
    const ajv = new Ajv({ strict: false, validateFormats: false }).addSchema(document, "document");
    for (const [path, item] of Object.entries<Record<string, Operation>>(document.paths)) {
      for (const [method, operation] of Object.entries(item).filter(([, operation]) => operation.operationId)) {
        this.operations.set(`${method.toUpperCase()} ${path}`, operation.operationId);
        for (const [status, { $ref }] of Object.entries(operation.responses)) {
          const pointer = $ref ?? `#/paths/${path.replaceAll("/", "~1")}/${method}/responses/${status}`;
          const schema = { $ref: `document${encodeURI(pointer)}/content/application~1json/schema` };
          this.schemas.set(`${operation.operationId} ${status}`, ajv.compile(schema));
        }
      }
    }
  }

  /** The operation of a method and a path, as the document writes it. */
  operation(method: string, path: string): string {
    const id = this.operations.get(`${method} ${path}`);
    if (id === undefined) throw new Error(`the document has no ${method} ${path}`);
    return id;
  }

  /** The method and the path of an operation. */
  route(operation: string): [method: string, path: string] {
    const route = [...this.operations].find(([, id]) => id === operation)?.[0].split(" ");
    if (route === undefined) throw new Error(`the document has no ${operation}`);
    return route as [string, string];
  }

  /** Throws unless an answer is as the document says. */
  check(operation: string, status: number, body: string): void {
    const family = `${operation} ${Math.trunc(status / 100)}XX`;
    const schema = this.schemas.get(`${operation} ${status}`) ?? this.schemas.get(family);
    if (schema?.(JSON.parse(body)) !== true) {
      const { instancePath, message } = schema?.errors?.[0] ?? { instancePath: "", message: "is not documented" };
      throw new Error(`the ${status} answer of ${operation} cannot be used: ${instancePath} ${message}`);
    }
  }

  middleware(): Middleware {
    return {
      onResponse: async ({ request, response, schemaPath }) => {
        this.check(this.operation(request.method, schemaPath), response.status, await response.clone().text());
      },
    };
  }
}
