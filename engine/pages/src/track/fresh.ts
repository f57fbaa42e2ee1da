/** Reads the page again. */

const TIMEOUT_MS = 10_000;

/** Returns the main part of the page as it is now; null without an answer. */
export async function request(path: string): Promise<Element | null> {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(path, { credentials: "omit", cache: "no-store", signal });
    // A link that has ended says so, in a page too. A limit or an outage is no page.
    if (!response.ok && response.status !== 404) return null;
    // Scripts of a parsed document do not run.
    return new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
  } catch {
    return null;
  }
}
