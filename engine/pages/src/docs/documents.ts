/** What the page shows of the contract's documents (OpenAPI 3.1, AsyncAPI 3.0). */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  title?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  default?: unknown;
  items?: Schema;
  prefixItems?: Schema[];
  additionalProperties?: boolean | Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
}

export interface Parameter {
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema?: Schema;
}

interface Content {
  [mediaType: string]: { schema?: Schema };
}

export interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  tags: string[];
  security?: Record<string, string[]>[];
  parameters?: Parameter[];
  requestBody?: { content: Content };
  responses: Record<string, { description: string; content?: Content }>;
}

export interface OpenApi {
  info: { title: string; version: string; description?: string };
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

export interface Message {
  name?: string;
  title?: string;
  summary?: string;
  description?: string;
  payload?: Schema;
}

export interface AsyncApi {
  info: { title: string; version: string; description?: string };
  operations: Record<string, { action: string; summary?: string; messages?: { $ref: string }[] }>;
  components: { messages: Record<string, Message>; schemas: Record<string, Schema> };
}

/** One thing that can be looked up: an operation over HTTP, or a message of the driver's socket. */
export interface Entry {
  id: string;
  group: string;
  label: string;
  /** The method, or who sends the message. */
  kind: string;
  summary: string;
  operation?: Operation;
  message?: Message;
}

export function httpEntries(document: OpenApi): Entry[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      id: operation.operationId,
      group: operation.tags[0] ?? "",
      label: path,
      kind: method.toUpperCase(),
      summary: operation.summary,
      operation,
    })),
  );
}

const TO_ENGINE = "Driver app to engine";
const TO_APP = "Engine to driver app";

/** An operation of AsyncAPI is seen from the engine: what it receives, the app sends. */
export function socketEntries(document: AsyncApi): Entry[] {
  const entries: Entry[] = [];
  for (const { action, messages } of Object.values(document.operations)) {
    for (const { $ref } of messages ?? []) {
      const name = $ref.split("/").at(-1) ?? "";
      const message = document.components.messages[name];
      if (message === undefined) continue;
      const isFromApp = action === "receive";
      entries.push({
        id: `${isFromApp ? "send" : "receive"}-${name}`,
        group: isFromApp ? TO_ENGINE : TO_APP,
        label: message.name ?? name,
        kind: isFromApp ? "app" : "engine",
        summary: message.summary ?? message.title ?? "",
        message,
      });
    }
  }
  return entries;
}

/** Those entries that have every word of the query somewhere in what is shown of them. */
export function found(entries: readonly Entry[], query: string): Entry[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return entries.filter((it) => {
    const text = `${it.kind} ${it.label} ${it.summary} ${it.id} ${it.group}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** A schema's name, if it refers to one. */
export function referred(schema: Schema): string | null {
  return schema.$ref?.split("/").at(-1) ?? null;
}

/** A type in words: “string, date-time”, “list of Job”, “one of: a, b”. */
export function typeOf(schema: Schema): string {
  const name = referred(schema);
  if (name !== null) return name;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return `one of: ${schema.enum.map((it) => JSON.stringify(it)).join(", ")}`;
  const options = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (options) return options.map(typeOf).join(" or ");
  if (schema.prefixItems) return `[${schema.prefixItems.map(typeOf).join(", ")}]`;
  if (schema.items) return `list of ${typeOf(schema.items)}`;
  const kind = [schema.type ?? "any"].flat().join(" or ");
  if (typeof schema.additionalProperties === "object") {
    return `map of ${typeOf(schema.additionalProperties)}`;
  }
  return schema.format ? `${kind}, ${schema.format}` : kind;
}

/** A schema's bounds in words; empty without any. */
export function boundsOf(schema: Schema): string {
  const bounds: string[] = [];
  const range = (low: number | undefined, high: number | undefined, unit: string) => {
    if (low !== undefined && high !== undefined) bounds.push(`${low} to ${high}${unit}`);
    else if (low !== undefined) bounds.push(`at least ${low}${unit}`);
    else if (high !== undefined) bounds.push(`at most ${high}${unit}`);
  };
  range(schema.minimum, schema.maximum, "");
  range(schema.minLength, schema.maxLength, " characters");
  range(schema.minItems, schema.maxItems, " items");
  if (schema.pattern) bounds.push(`matches ${schema.pattern}`);
  if (schema.default !== undefined) bounds.push(`default ${JSON.stringify(schema.default)}`);
  return bounds.join("; ");
}

/** The names of the schemas that a schema refers to, itself not followed. */
export function refersTo(schema: Schema): string[] {
  const name = referred(schema);
  if (name !== null) return [name];
  const parts = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.anyOf ?? schema.oneOf ?? schema.allOf ?? []),
    ...(schema.prefixItems ?? []),
    ...(schema.items ? [schema.items] : []),
    ...(typeof schema.additionalProperties === "object" ? [schema.additionalProperties] : []),
  ];
  return [...new Set(parts.flatMap(refersTo))];
}
