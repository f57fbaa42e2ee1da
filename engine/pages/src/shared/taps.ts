/**
 * Ignores the second half of a double tap, and taps on what has appeared under the finger.
 *
 * A tap often moves the page: the next stop's button comes to where the last one was, and the same
 * thumb would press it. For as long as a double tap takes, no button takes a tap; keys still work.
 */

const DOUBLE_TAP_MS = 350;
const MARK = "is-tapped";

let frame = 0;
let release: ReturnType<typeof setTimeout> | undefined;

/** Ignores taps until what has changed has been drawn for as long as a double tap takes. */
export function pauseTaps(): void {
  document.documentElement.classList.add(MARK);
  cancelAnimationFrame(frame);
  clearTimeout(release);
  // A slow phone may take longer than a double tap to draw it.
  frame = requestAnimationFrame(() => {
    release = setTimeout(() => document.documentElement.classList.remove(MARK), DOUBLE_TAP_MS);
  });
}

/** From now on ignores taps after each press of a button. */
export function ignoreDoubleTaps(): void {
  addEventListener("click", ({ target }) => {
    if (target instanceof Element && target.closest("button") !== null) pauseTaps();
  });
}
