/**
 * Makes the customer's page better than plain HTML: it is reloaded without a flicker, and times
 * are this reader's. The engine renders all of it (gateway/pages/tracking.py); this script knows no
 * state and no words of its own but those for the line.
 */

import { request } from "./fresh.ts";
import "./track.css";

const READ_MS = 15_000;
const ENDED = "data-ended";

const main = document.querySelector("main");
let shown = main?.innerHTML ?? "";
let missed = 0;

async function update(): Promise<void> {
  if (main === null || document.hidden) return;
  const fresh = await request(location.pathname);
  missed = fresh === null ? missed + 1 : 0;
  document.body.classList.toggle("is-stale", missed > 1);
  if (fresh === null || fresh.innerHTML === shown) return;
  shown = fresh.innerHTML;
  // The page has one link at most: who was on it stays there.
  const isOnLink = main.querySelector("a:focus") !== null;
  main.replaceChildren(...fresh.childNodes);
  localise();
  if (isOnLink) main.querySelector("a")?.focus({ preventScroll: true });
}

/** Writes each time in the reader's own zone and notation. */
function localise(): void {
  const format = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
  for (const element of document.querySelectorAll("time")) {
    element.textContent = format.format(new Date(element.dateTime));
  }
}

localise();
setInterval(() => {
  if (main?.querySelector(`[${ENDED}]`) === null) void update();
}, READ_MS);
document.addEventListener("visibilitychange", () => void update());
addEventListener("online", () => void update());
