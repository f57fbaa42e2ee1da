import { afterEach, expect, test, vi } from "vitest";
import { request } from "./fresh.ts";

afterEach(() => vi.unstubAllGlobals());

function answering(status: number, body: string): void {
  vi.stubGlobal("fetch", async () => new Response(body, { status }));
}

test("the main part of an answer", async () => {
  answering(200, "<main><h1>On its way</h1></main>");
  expect((await request("/track/x"))?.textContent).toBe("On its way");
});

test("an ended link is a page, an outage is not", async () => {
  answering(404, "<main>ended</main>");
  expect((await request("/track/x"))?.textContent).toBe("ended");
  answering(503, "<main>no</main>");
  expect(await request("/track/x")).toBeNull();
  vi.stubGlobal("fetch", async () => Promise.reject(new TypeError("no line")));
  expect(await request("/track/x")).toBeNull();
});
