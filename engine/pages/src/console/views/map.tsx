/** Where everything is now. Loaded when it is opened: the map's library is larger than all else. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { useConsole } from "../context.ts";
import { MarketMap, type Layer } from "../map.tsx";
import { driverPoints, jobPoints } from "../map-layers.ts";

// Told apart by size and ring as well as by colour.
export const DRIVER_PAINT = {
  "circle-radius": ["match", ["get", "look"], "busy", 5.5, "free", 5, 4],
  "circle-color": ["match", ["get", "look"], "busy", "#1a63c6", "free", "#ffffff", "#8a958f"],
  "circle-stroke-width": ["match", ["get", "look"], "free", 2.5, 1],
  "circle-stroke-color": ["match", ["get", "look"], "free", "#0b6b53", "#ffffff"],
};
export const JOB_PAINT = {
  "circle-radius": ["match", ["get", "risk"], "none", 3, 5],
  "circle-color": ["match", ["get", "risk"], "late", "#d0342c", "at_risk", "#e09b1a", "#9aa8a1"],
  "circle-opacity": 0.85,
};

export function MapView(): JSX.Element {
  const { live, market, run } = useConsole();
  const version = live.version.value;
  const layers = useMemo<Layer[]>(
    () => [
      { name: "jobs", data: jobPoints(live.board.jobs.values()), paint: JOB_PAINT },
      { name: "drivers", data: driverPoints(live.board.drivers.values()), paint: DRIVER_PAINT },
    ],
    [version],
  );
  return (
    <div class="view">
      <header class="view-head">
        <h1>Map</h1>
        <ul class="legend" aria-label="Legend">
          <li><i class="dot dot-free" aria-hidden="true" /> free driver</li>
          <li><i class="dot dot-busy" aria-hidden="true" /> on a run</li>
          <li><i class="dot dot-gone" aria-hidden="true" /> not matched</li>
          <li><i class="dot dot-late" aria-hidden="true" /> late order</li>
          <li><i class="dot dot-risk" aria-hidden="true" /> at risk</li>
        </ul>
      </header>
      <MarketMap
        market={market}
        layers={layers}
        label="Map of drivers and orders; the lists of drivers and orders have the same as text"
        onPick={(layer, id) => run({ kind: "open", path: `/${layer === "drivers" ? "driver" : "job"}/${encodeURIComponent(id)}` })}
      />
    </div>
  );
}
