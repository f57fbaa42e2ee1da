/** Keeps the place of who works with keys or a screen reader when a button goes with its step. */

import { useEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";

/** Focuses the element after a change in which the focus was lost; it needs `tabIndex={-1}`. */
export function useFocus<T extends HTMLElement>(changes: readonly unknown[], part?: string): RefObject<T | null> {
  const element = useRef<T>(null);
  useEffect(() => {
    if (document.activeElement !== document.body) return;
    const it = element.current;
    (part === undefined ? it : it?.querySelector<HTMLElement>(part))?.focus({ preventScroll: true });
  }, changes);
  return element;
}
