/** The phone: its position, its screen that must stay on, and what a suspended page cannot do. */

import { signal } from "@preact/signals";
import type { DriverClient } from "@mallard/client";

export type Place = "unknown" | "known" | "denied" | "unavailable";

export const place = signal<Place>("unknown");
/** The page was hidden for long: a browser stops it, and no position was sent meanwhile. */
export const wasAwayMs = signal(0);

const AWAY_AFTER_MS = 30_000;
const FIX_TIMEOUT_MS = 30_000;
// After this many polls without a position the watch is restarted.
const SILENT_POLLS = 4;
const NOW_TIMEOUT_MS = 4_000;

/**
 * Sends positions while the page is open, at the pace that the engine asks for. Returns a function
 * that stops it.
 *
 * A browser reports a position only when it changes. A driver who waits in a car park must be reported
 * too, so the position is also polled. Beside a watch, Chromium answers a poll only with a position
 * that is new to the watch. A watch that has been silent for a while is therefore restarted: a new
 * watch first reports the present position.
 */
export function watchPosition(client: DriverClient): () => void {
  if (!("geolocation" in navigator)) {
    place.value = "unavailable";
    return () => undefined;
  }
  const { geolocation } = navigator;
  let isFound = false;
  let silentPolls = 0;
  const found = (position: GeolocationPosition): void => {
    isFound = true;
    silentPolls = 0;
    place.value = "known";
    client.position(position);
  };
  const failed = (error: GeolocationPositionError): void => {
    place.value = error.code === error.PERMISSION_DENIED ? "denied" : "unavailable";
  };
  const begin = (): number => geolocation.watchPosition(found, failed, { enableHighAccuracy: true, maximumAge: 0, timeout: FIX_TIMEOUT_MS });
  // The watch reports that no position can be found. A poll that times out does not mean that.
  const unanswered = (error: GeolocationPositionError): void => {
    if (error.code !== error.TIMEOUT) failed(error);
  };
  let watch = begin();
  let timer = 0;
  const ask = (): void => {
    if (!document.hidden) {
      // Not before the first position, which may take a phone a long time.
      if (silentPolls >= SILENT_POLLS && isFound) {
        geolocation.clearWatch(watch);
        watch = begin();
        silentPolls = 0;
      } else {
        geolocation.getCurrentPosition(found, unanswered, { enableHighAccuracy: true, maximumAge: client.locationMs, timeout: client.locationMs / 2 });
        silentPolls += 1;
      }
    }
    timer = setTimeout(ask, client.locationMs) as unknown as number;
  };
  ask();
  return () => {
    geolocation.clearWatch(watch);
    clearTimeout(timer);
  };
}

/** Takes the position of now; resolves all the same when there is none within a few seconds. */
export function takePosition(client: DriverClient): Promise<void> {
  return new Promise((resolve) => {
    if (!("geolocation" in navigator)) return resolve();
    navigator.geolocation.getCurrentPosition(
      (position) => {
        client.position(position);
        resolve();
      },
      () => resolve(),
      { enableHighAccuracy: true, maximumAge: 0, timeout: NOW_TIMEOUT_MS },
    );
  });
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
