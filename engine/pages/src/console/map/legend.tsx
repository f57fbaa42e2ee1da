/** What the shapes on a map mean. */

import type { JSX } from "preact";
import type { Look } from "./layers.ts";

export function Legend({ of }: { of: [Look, string][] }): JSX.Element {
  return (
    <ul class="legend" aria-label="Legend">
      {of.map(([look, name]) => (
        <li key={look}>
          <i class={`spot spot-${look}`} aria-hidden="true" /> {name}
        </li>
      ))}
    </ul>
  );
}
