/**
 * A map of our own shapes: the market's area, its malls and gates, and points on them.
 *
 * No tiles are fetched from anywhere: an operator's data stays here, and the page works behind a
 * closed network. The worker comes from the engine, as the content security policy demands.
 */

import type { FeatureCollection } from "geojson";
import * as maplibregl from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";
import "maplibre-gl/dist/maplibre-gl.css";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useMedia } from "./grid.tsx";
import { gatePoints, marketShapes } from "./map-layers.ts";
import type { Market } from "./types.ts";

maplibregl.setWorkerUrl(workerUrl);

export interface Layer {
  name: string;
  data: FeatureCollection;
  /** Of MapLibre's circle layer. */
  paint: Record<string, unknown>;
}

interface Props {
  market: Market;
  layers: Layer[];
  label: string;
  onPick: (layer: string, id: string) => void;
}

export function MarketMap({ market, layers, label, onPick }: Props): JSX.Element {
  const element = useRef<HTMLDivElement>(null);
  const map = useRef<maplibregl.Map | null>(null);
  const latest = useRef({ layers, onPick });
  latest.current = { layers, onPick };
  const isDark = useMedia("(prefers-color-scheme: dark)");
  const isCalm = useMedia("(prefers-reduced-motion: reduce)");

  useEffect(() => {
    if (!element.current) return;
    const made = new maplibregl.Map({
      container: element.current,
      style: styleOf(market, isDark),
      bounds: boundsOf(market),
      fitBoundsOptions: { padding: 40 },
      attributionControl: false,
      fadeDuration: isCalm ? 0 : 150,
    });
    made.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
    const names = market.malls.map((mall) => {
      const name = document.createElement("span");
      name.className = "map-name";
      name.textContent = mall.name;
      return new maplibregl.Marker({ element: name, anchor: "bottom", offset: [0, -10] }).setLngLat([mall.lon, mall.lat]).addTo(made);
    });
    made.on("load", () => {
      for (const layer of latest.current.layers) {
        made.addSource(layer.name, { type: "geojson", data: layer.data });
        made.addLayer({ id: layer.name, type: "circle", source: layer.name, paint: layer.paint } as maplibregl.CircleLayerSpecification);
        made.on("click", layer.name, (event) => {
          const id = event.features?.[0]?.properties["id"];
          if (typeof id === "string") latest.current.onPick(layer.name, id);
        });
        made.on("mouseenter", layer.name, () => (made.getCanvas().style.cursor = "pointer"));
        made.on("mouseleave", layer.name, () => (made.getCanvas().style.cursor = ""));
      }
      map.current = made;
    });
    return () => {
      map.current = null;
      for (const name of names) name.remove();
      made.remove();
    };
  }, [market.id, isDark]);

  useEffect(() => {
    for (const layer of layers) {
      const source = map.current?.getSource(layer.name) as maplibregl.GeoJSONSource | undefined;
      source?.setData(layer.data);
    }
  }, [layers]);

  return <div class="map" ref={element} role="application" aria-label={label} />;
}

function styleOf(market: Market, isDark: boolean): maplibregl.StyleSpecification {
  const colour = isDark
    ? { page: "#0f1714", area: "#16211d", line: "#3a4a43", mall: "#2c5a4a", paused: "#6b5413", gate: "#9fb3aa" }
    : { page: "#e7ecea", area: "#f7f9f8", line: "#b6c2bc", mall: "#bfe0d3", paused: "#f3d894", gate: "#4d5a54" };
  return {
    version: 8,
    sources: {
      shapes: { type: "geojson", data: marketShapes(market) },
      gates: { type: "geojson", data: gatePoints(market) },
    },
    layers: [
      { id: "page", type: "background", paint: { "background-color": colour.page } },
      { id: "area", type: "fill", source: "shapes", filter: ["==", ["get", "kind"], "area"], paint: { "fill-color": colour.area } },
      { id: "border", type: "line", source: "shapes", filter: ["==", ["get", "kind"], "area"], paint: { "line-color": colour.line, "line-width": 1.5 } },
      {
        id: "malls",
        type: "fill",
        source: "shapes",
        filter: ["==", ["get", "kind"], "mall"],
        paint: { "fill-color": ["case", ["get", "paused"], colour.paused, colour.mall], "fill-outline-color": colour.line },
      },
      { id: "gates", type: "circle", source: "gates", minzoom: 13, paint: { "circle-radius": 3, "circle-color": colour.gate } },
    ],
  };
}

function boundsOf(market: Market): [number, number, number, number] {
  const ring = market.area.coordinates[0] ?? [];
  const lons = ring.map((point) => point[0] ?? 0);
  const lats = ring.map((point) => point[1] ?? 0);
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}
