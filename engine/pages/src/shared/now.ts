/** The time that pages show ages and countdowns by. */

import { signal } from "@preact/signals";

/** Epoch milliseconds by this device's clock; changes each second while the page is shown. */
export const now = signal(Date.now());

function tick(): void {
  if (!document.hidden) now.value = Date.now();
}

setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);
