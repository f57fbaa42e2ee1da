/*
 * Keeps the driver app's shell, so that it opens without a line.
 *
 * The page is asked for first and the kept copy is used when there is no answer; files under
 * /assets/ never change under one name, so the kept copy comes first. Calls are never kept.
 */

const SHELL = "mallard-driver";
const PAGE = "/driver";
const ANSWER_MS = 3000;
const MOST_FILES = 60;

self.addEventListener("install", (event) => {
  event.waitUntil(keepPage().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (url.pathname === PAGE) event.respondWith(page());
  else if (url.pathname.startsWith("/assets/")) event.respondWith(asset(event.request));
});

async function page() {
  const shell = await caches.open(SHELL);
  try {
    const answer = await fetch(PAGE, { signal: AbortSignal.timeout(ANSWER_MS), credentials: "omit" });
    if (answer.ok) {
      await shell.put(PAGE, answer.clone());
      return answer;
    }
  } catch {
    // No line: the kept page.
  }
  return (await shell.match(PAGE)) ?? Response.error();
}

async function asset(request) {
  const shell = await caches.open(SHELL);
  const kept = await shell.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) {
    await shell.put(request, answer.clone());
    const names = await shell.keys();
    // Files of old versions make room; the page is the first and stays.
    for (const name of names.slice(1, Math.max(1, names.length - MOST_FILES))) await shell.delete(name);
  }
  return answer;
}

/** The page and the files that it names: a phone may lose its line right after the first visit. */
async function keepPage() {
  const shell = await caches.open(SHELL);
  const answer = await fetch(PAGE, { credentials: "omit" });
  if (!answer.ok) return;
  await shell.put(PAGE, answer.clone());
  const names = [...(await answer.text()).matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((it) => it[1]);
  await shell.addAll(names);
}
