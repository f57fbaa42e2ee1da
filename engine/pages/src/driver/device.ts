/** The phone: its position, its screen that must stay on, and what a suspended page cannot do. */

import { signal } from "@preact/signals";
import type { DriverClient } from "@mallard/client";

export type Place = "unknown" | "known" | "denied" | "unavailable";

export const place = signal<Place>("unknown");
/** The page was hidden for long: a browser stops it, and no position was sent meanwhile. */
export const wasAwayMs = signal(0);

const AWAY_AFTER_MS = 30_000;

/** Sends positions while the page is open. Returns a function that stops it. */
export function watchPosition(client: DriverClient): () => void {
  if (!("geolocation" in navigator)) {
    place.value = "unavailable";
    return () => undefined;
  }
  const watch = navigator.geolocation.watchPosition(
    (position) => {
      place.value = "known";
      client.position(position);
    },
    (error) => {
      place.value = error.code === error.PERMISSION_DENIED ? "denied" : "unavailable";
    },
    { enableHighAccuracy: true, maximumAge: 10_000, timeout: 30_000 },
  );
  return () => navigator.geolocation.clearWatch(watch);
}

/** Keeps the screen on while `isWanted`; a hidden page loses the lock and takes it again. */
export function keepAwake(isWanted: () => boolean): () => void {
  let lock: WakeLockSentinel | null = null;
  let hiddenMs = 0;
  const take = async (): Promise<void> => {
    if (document.hidden || !isWanted() || (lock !== null && !lock.released)) return;
    lock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  };
  const changed = (): void => {
    if (document.hidden) {
      hiddenMs = Date.now();
      return;
    }
    if (hiddenMs > 0 && Date.now() - hiddenMs > AWAY_AFTER_MS) wasAwayMs.value = Date.now() - hiddenMs;
    hiddenMs = 0;
    void take();
  };
  const timer = setInterval(() => void take(), 10_000);
  document.addEventListener("visibilitychange", changed);
  void take();
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", changed);
    void lock?.release().catch(() => undefined);
  };
}

/** While the page is hidden a phone may cut its socket: calls stand in for it. */
export function followVisibility(client: DriverClient): () => void {
  const changed = (): void => {
    if (document.hidden) client.suspend();
    else client.resume();
  };
  document.addEventListener("visibilitychange", changed);
  return () => document.removeEventListener("visibilitychange", changed);
}

export async function installWorker(): Promise<void> {
  if (!("serviceWorker" in navigator) || !import.meta.env.PROD) return;
  await navigator.serviceWorker.register("/driver/worker.js", { scope: "/driver" }).catch(() => undefined);
}
