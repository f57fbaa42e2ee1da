import { beforeEach, expect, test, vi } from "vitest";
import { call, isSigningIn, readToken, restore, session, signIn, signInProblem, signOut } from "./session.ts";

function token(claims: object): string {
  const part = (it: object) => btoa(JSON.stringify(it)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${part({ alg: "HS256" })}.${part(claims)}.signature`;
}

const SOON = Math.floor(Date.now() / 1000) + 3600;
const OPERATOR = token({ sub: "ops", role: "operator", aud: "mallard", exp: SOON });
const CODE = "abcdefghijklmnopqrstuvwx";

function answer(status: number, body: object): Response {
  return new Response(JSON.stringify(body), { status });
}

beforeEach(() => {
  sessionStorage.clear();
  signOut();
  location.hash = "";
  vi.unstubAllGlobals();
});

test("the claims of a token", () => {
  expect(readToken(OPERATOR)).toMatchObject({ sub: "ops", role: "operator", expiresMs: SOON * 1000 });
  for (const bad of ["", "a.b", "a.b.c", `${btoa("{}")}.${btoa("{}")}.x`]) expect(readToken(bad)).toBeNull();
});

test("a token of another role or an expired one is refused", () => {
  expect(signIn(OPERATOR, ["store"])).toContain("operator");
  expect(signIn(token({ sub: "o", role: "store", exp: 1 }), ["store"])).toContain("expired");
  expect(session.value).toBeNull();
  expect(sessionStorage.length).toBe(0);
});

test("a code is sent once, in the body, and leaves the address", async () => {
  location.hash = `#${CODE}`;
  const fetched = vi.fn(async (..._: Parameters<typeof fetch>) => answer(200, { token: OPERATOR }));
  vi.stubGlobal("fetch", fetched);
  await restore(["operator"]);
  expect(session.value?.sub).toBe("ops");
  expect(location.hash).toBe("");
  expect(isSigningIn.value).toBe(false);
  const [path, init] = fetched.mock.calls[0]!;
  expect(path).toBe("/v1/session/exchange");
  expect(init?.body).toBe(JSON.stringify({ code: CODE }));
  // A reload signs in from the tab's storage.
  session.value = null;
  await restore(["operator"]);
  expect(session.value).not.toBeNull();
  expect(fetched).toHaveBeenCalledTimes(1);
});

test("a spent code says so", async () => {
  location.hash = `#${CODE}`;
  vi.stubGlobal("fetch", async () => answer(404, { code: "not_found", detail: "no such code" }));
  await restore(["operator"]);
  expect(session.value).toBeNull();
  expect(signInProblem.value).toContain("used or is too old");
});

test("a refused token signs out, another error does not", async () => {
  signIn(OPERATOR, ["operator"]);
  vi.stubGlobal("fetch", async () => answer(503, { code: "store_unavailable", detail: "later" }));
  await expect(call("/v1/jobs")).rejects.toThrow("later");
  expect(session.value).not.toBeNull();
  vi.stubGlobal("fetch", async () => answer(401, { code: "unauthorized", detail: "expired" }));
  await expect(call("/v1/jobs")).rejects.toThrow("expired");
  expect(session.value).toBeNull();
  expect(sessionStorage.length).toBe(0);
});
