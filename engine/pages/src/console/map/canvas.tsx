/**
 * A map of our own shapes: the market's area, its malls and gates, and points on them.
 *
 * No tiles are fetched from anywhere unless the deployment names a style (`map_style_url`): an
 * operator's data stays here, and the page works behind a closed network. The worker comes from the
 * engine, as the content security policy demands.
 */

import * as maplibregl from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";
import "maplibre-gl/dist/maplibre-gl.css";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useMedia } from "../grid.tsx";
import { extentOf, gatePoints, marketShapes, type Layer } from "./layers.ts";
import { Spots } from "./spots.ts";
import type { Market } from "../core/types.ts";

maplibregl.setWorkerUrl(workerUrl);

interface Props {
  market: Market;
  layers: Layer[];
  /** Whether all has come that is to be shown now: the map is fitted to it. */
  isComplete: boolean;
  label: string;
  onPick: (layer: Layer["name"], id: string) => void;
}

// Names of malls stand above them. A single mall does not fill the window.
const FIT = { padding: { top: 64, bottom: 40, left: 40, right: 56 }, maxZoom: 15 };
const OPENING_MS = 1_000;

/** The style that the deployment has chosen; the engine writes it into the page. */
const STYLE_URL = document.querySelector<HTMLMetaElement>('meta[name="mallard-map-style"]')?.content;

export function MarketMap({ market, layers, isComplete, label, onPick }: Props): JSX.Element {
  const element = useRef<HTMLDivElement>(null);
  const spots = useRef<Spots | null>(null);
  const map = useRef<maplibregl.Map | null>(null);
  const fitsUntilMs = useRef<number | null>(null);
  const latest = useRef({ layers, onPick });
  latest.current = { layers, onPick };
  const isDark = useMedia("(prefers-color-scheme: dark)");
  const isCalm = useMedia("(prefers-reduced-motion: reduce)");

  useEffect(() => {
    if (!element.current) return;
    const made = new maplibregl.Map({
      container: element.current,
      style: STYLE_URL ?? styleOf(market, isDark),
      bounds: extentOf(market, latest.current.layers),
      fitBoundsOptions: FIT,
      attributionControl: false,
      fadeDuration: isCalm ? 0 : 150,
      ...(hasGraphics() ? {} : { pixelRatio: 0.5 }),
      // North stays up: the spots over the map are placed by its centre and zoom alone.
      dragRotate: false,
      touchPitch: false,
      maxPitch: 0,
    });
    made.touchZoomRotate.disableRotation();
    made.keyboard.disableRotation();
    made.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
    const names = market.malls.map((mall) => {
      const name = document.createElement("span");
      name.className = "map-name";
      name.textContent = mall.name;
      return new maplibregl.Marker({ element: name, anchor: "bottom", offset: [0, -10] }).setLngLat([mall.lon, mall.lat]).addTo(made);
    });
    // Over a style of others lie our own areas and malls; without it they are the style.
    if (STYLE_URL) made.on("load", () => addShapes(made, styleOf(market, isDark)));
    const drawn = new Spots(made, (layer, id) => latest.current.onPick(layer, id));
    drawn.show(latest.current.layers);
    spots.current = drawn;
    map.current = made;
    // The map never moves by itself once a user has moved it. Until then it shows everything in a window of any size.
    made.on("movestart", (event) => {
      if (event.originalEvent) fitsUntilMs.current = 0;
    });
    made.on("resize", () => {
      if (fitsUntilMs.current !== 0) made.fitBounds(extentOf(market, latest.current.layers), { ...FIT, animate: false });
    });
    return () => {
      map.current = null;
      spots.current = null;
      drawn.remove();
      for (const name of names) name.remove();
      made.remove();
    };
  }, [market.id, isDark]);

  useEffect(() => {
    spots.current?.show(layers);
    // The map is often opened before the lists have come, and what has come is drawn a moment later.
    if (!isComplete) return;
    fitsUntilMs.current ??= performance.now() + OPENING_MS;
    if (performance.now() < fitsUntilMs.current) map.current?.fitBounds(extentOf(market, layers), { ...FIT, animate: false });
  }, [layers, isComplete]);

  return <div class="map" ref={element} role="application" aria-label={label} />;
}

// Of our own style, what would hide the map of others.
const UNDER_MAP = new Set(["page", "area"]);

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

/** Whether a graphics card paints the map. The processor paints a quarter of the points instead. */
function hasGraphics(): boolean {
  const context = document.createElement("canvas").getContext("webgl2");
  const name = String(context?.getParameter(context.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER));
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

function addShapes(map: maplibregl.Map, own: maplibregl.StyleSpecification): void {
  for (const [name, source] of Object.entries(own.sources)) map.addSource(name, source);
  for (const layer of own.layers) if (!UNDER_MAP.has(layer.id)) map.addLayer(layer);
}
