/** Where everything is now. Loaded when it is opened: the map's library is larger than all else. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { useConsole } from "../context.ts";
import { MarketMap } from "./canvas.tsx";
import { driverSpots, jobSpots, type Layer } from "./layers.ts";
import { Legend } from "./legend.tsx";

export function MapView(): JSX.Element {
  const { live, market, run } = useConsole();
  const version = live.version.value;
  const layers = useMemo<Layer[]>(
    () => [
      { name: "jobs", spots: jobSpots(live.board.jobs.values()) },
      { name: "drivers", spots: driverSpots(live.board.drivers.values()) },
    ],
    [version],
  );
  return (
    <div class="view">
      <header class="view-head">
        <h1>Map</h1>
        <Legend
          of={[
            ["free", "free driver"],
            ["busy", "on a run"],
            ["gone", "not matched"],
            ["order", "order"],
            ["at_risk", "at risk"],
            ["late", "late"],
          ]}
        />
      </header>
      <MarketMap
        market={market}
        layers={layers}
        isComplete={live.state.value === "live"}
        label="Map of drivers and orders; the lists of drivers and orders have the same as text"
        onPick={(layer, id) => run({ kind: "open", path: `/${layer === "drivers" ? "driver" : "job"}/${encodeURIComponent(id)}` })}
      />
    </div>
  );
}
