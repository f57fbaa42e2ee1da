/** Distinguishes a scanned code from keys that are meant for a button. */

import { useEffect, useRef } from "preact/hooks";

/**
 * Takes what is scanned while no field has the focus. A barcode wedge types like a keyboard and ends
 * with Enter: that Enter must not press the button that has the focus.
 */
export function useScans(onScan: (text: string) => void): void {
  const latest = useRef(onScan);
  latest.current = onScan;
  useEffect(() => {
    let text = "";
    const listen = (event: KeyboardEvent): void => {
      const isInField = event.target instanceof Element && event.target.closest("input, select, textarea") !== null;
      // A space presses the button that has the focus; Shift comes before a capital letter.
      const isText = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.altKey && !event.metaKey;
      if (!isInField && isText) {
        text += event.key;
      } else if (!isInField && event.key === "Enter" && text !== "") {
        event.preventDefault();
        latest.current(text);
        text = "";
      } else if (event.key !== "Shift") {
        text = "";
      }
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
}
