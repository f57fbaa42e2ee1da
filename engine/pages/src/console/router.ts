/** The console's places, kept behind `#` so that the server sees one page and a link opens a list. */

import { signal } from "@preact/signals";

export interface Route {
  path: string;
  segments: string[];
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = "/", query = ""] = hash.replace(/^#/, "").split("?", 2);
  const clean = path.startsWith("/") ? path : "/";
  return {
    path: clean,
    segments: clean.split("/").filter(Boolean).map(decode),
    query: new URLSearchParams(query),
  };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

export const route = signal<Route>(parse(location.hash));
addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

export function go(path: string): void {
  location.hash = path;
}

// What is one market's own: an order, a driver, a mall.
const OF_ONE = new Set(["job", "driver"]);

/** The same place and filter in another market, as far as it can be the same there. */
export function inMarket(market: string, { segments, query }: Pick<Route, "segments" | "query">): string {
  const place = segments[1] ?? "exceptions";
  if (OF_ONE.has(place)) return `/${market}/${place === "job" ? "orders" : "drivers"}`;
  const kept = new URLSearchParams(query);
  kept.delete("mall");
  const text = kept.toString();
  return `/${market}/${place}${text ? `?${text}` : ""}`;
}

/** Change the filter of the place that is shown; the way back does not pass each letter typed. */
export function setQuery(query: URLSearchParams): void {
  const text = query.toString();
  history.replaceState(null, "", `#${route.value.path}${text ? `?${text}` : ""}`);
  route.value = parse(location.hash);
}
