/**
 * Verifies and reads what the engine posts to an endpoint of webhooks (Standard Webhooks), with the
 * platform's WebCrypto.
 *
 *     const event = await readWebhook(await request.text(), request.headers, secret);
 */

import type { EventMessage } from "./contract.js";
import { ClientError } from "./errors.js";

/** This was not posted by the engine, or not within the last five minutes: answer 400. */
export class BadWebhook extends ClientError {
  override readonly name = "BadWebhook";
}

const TOLERANCE_S = 300;

type HeaderSource = Headers | Record<string, string | string[] | undefined>;

/**
 * The event of a request, if it is signed with one of your secrets.
 *
 * `body`: as it arrived; JSON that was parsed and encoded again has other bytes. `secrets`: the
 * endpoint's (`whsec_…`), and while you rotate both. Throws `BadWebhook`, and `TypeError` for an
 * invalid secret.
 */
export async function readWebhook(
  body: string | Uint8Array,
  headers: HeaderSource,
  secrets: string | readonly string[],
  nowS: number = Date.now() / 1000,
): Promise<EventMessage> {
  const keys = await Promise.all((typeof secrets === "string" ? [secrets] : secrets).map(keyOf));
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  if (!/^[0-9]+$/.test(timestamp) || Math.abs(nowS - Number(timestamp)) > TOLERANCE_S) {
    throw new BadWebhook("the request is too old, or from the future");
  }
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + bytes.length);
  signed.set(head);
  signed.set(bytes, head.length);
  for (const signature of signatures.split(" ")) {
    const [version, value] = signature.split(",");
    const given = version === "v1" && value ? fromBase64(value) : undefined;
    if (given === undefined) continue;
    for (const key of keys) {
      if (await crypto.subtle.verify("HMAC", key, given, signed)) return eventOf(bytes);
    }
  }
  throw new BadWebhook("the request is not signed with this secret");
}

function eventOf(bytes: Uint8Array): EventMessage {
  try {
    const event = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as EventMessage;
    if (typeof event.id === "string" && typeof event.type === "string") return event;
  } catch {
    // Thrown below.
  }
  throw new BadWebhook("the body is no event");
}

async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = secret.startsWith("whsec_") ? fromBase64(secret.slice(6)) : undefined;
  if (!bytes?.length) throw new TypeError("a secret of a webhook begins with whsec_");
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function header(headers: HeaderSource, name: string): string {
  if (headers instanceof Headers) return headers.get(name) ?? "";
  const found = Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  return (Array.isArray(found) ? found[0] : found) ?? "";
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}
