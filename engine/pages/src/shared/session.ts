/**
 * Who is signed in on this page.
 *
 * A person pastes a token, or follows a link with a one-time code behind `#`, which never leaves
 * the browser but in the body of the exchange. The token is kept in the session storage of this
 * tab, never in a cookie or an address. The page reads the token's claims to show them only: the
 * engine checks the token with each request.
 */

import { signal } from "@preact/signals";
import { ApiError, inWords, request, type Options } from "./api.ts";

export type Role = "driver" | "orders" | "operator" | "store";

export interface Session {
  token: string;
  sub: string;
  role: Role;
  expiresMs: number;
  market: string | null;
  markets: string[] | null;
  mall: string | null;
  store: string | null;
}

const KEY = "mallard.token";
const CODE = /^#[A-Za-z0-9_-]{24}$/;

export const session = signal<Session | null>(null);
/** Why the person is signed out, for the sign-in form. */
export const signInProblem = signal<string | null>(null);
export const isSigningIn = signal(false);

/** Returns what a token states; null if it is not one. */
export function readToken(token: string): Session | null {
  const parts = token.trim().split(".");
  if (parts.length !== 3) return null;
  try {
    const payload = (parts[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (it) => it.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims.sub !== "string" || typeof claims.exp !== "number") return null;
    return {
      token: token.trim(),
      sub: claims.sub,
      role: claims.role,
      expiresMs: claims.exp * 1000,
      market: claims.market ?? null,
      markets: claims.markets ?? null,
      mall: claims.mall ?? null,
      store: claims.store ?? null,
    };
  } catch {
    return null;
  }
}

/** Signs in with a pasted token; returns what is wrong with it, null if nothing is. */
export function signIn(token: string, roles: readonly Role[]): string | null {
  const read = readToken(token);
  if (read === null) return "This is not a token. Copy it whole, without spaces or quotes.";
  if (!roles.includes(read.role)) {
    return `This token is for the role “${read.role}”. This page needs: ${roles.join(" or ")}.`;
  }
  if (read.expiresMs <= Date.now()) return "This token has expired. Ask for another one.";
  sessionStorage.setItem(KEY, read.token);
  session.value = read;
  signInProblem.value = null;
  return null;
}

export function signOut(why: string | null = null): void {
  sessionStorage.removeItem(KEY);
  session.value = null;
  signInProblem.value = why;
}

/** Signs in by the code in the address, or with the token of this tab. Called once, at the start. */
export async function restore(roles: readonly Role[]): Promise<void> {
  const code = takeCode();
  if (code === null) {
    const kept = sessionStorage.getItem(KEY);
    if (kept !== null && signIn(kept, roles) !== null) signOut();
    return;
  }
  isSigningIn.value = true;
  try {
    const { token } = await request<{ token: string }>("/v1/session/exchange", {
      method: "POST",
      body: { code },
    });
    signInProblem.value = signIn(token, roles);
  } catch (error) {
    const isSpent = error instanceof ApiError && error.status === 404;
    signOut(isSpent ? "This link has been used or is too old. Ask for another one." : inWords(error));
  } finally {
    isSigningIn.value = false;
  }
}

/** Returns the code behind `#` and removes it from the address and the history. */
function takeCode(): string | null {
  if (!CODE.test(location.hash)) return null;
  const code = location.hash.slice(1);
  history.replaceState(history.state, "", location.pathname + location.search);
  return code;
}

/** Sends a request with the token of this tab; a refused token signs out. */
export async function call<T>(path: string, options: Options = {}): Promise<T> {
  const token = session.value?.token ?? null;
  // What was still reading when the person signed out ends here.
  if (token === null) throw new ApiError(401, "unauthorized", "Nobody is signed in.");
  try {
    return await request<T>(path, { ...options, token });
  } catch (error) {
    if (error instanceof ApiError && error.status === 401 && session.value?.token === token) {
      signOut("You were signed out: the token has expired or was revoked.");
    }
    throw error;
  }
}
