/** What the map shows: the market's own shapes as GeoJSON, and spots that move. Pure. */

import type { FeatureCollection, Feature } from "geojson";
import type { Driver, Job, Market } from "../core/types.ts";

/** What a spot looks like. Each has a shape of its own, so that no colour says anything alone. */
export type Look = "free" | "busy" | "gone" | "order" | "under_way" | "at_risk" | "late";

export interface Spot {
  id: string;
  lon: number;
  lat: number;
  look: Look;
}

/** Spots of one kind. The later of two layers lies on top. */
export interface Layer {
  name: "jobs" | "drivers";
  spots: Spot[];
}

export function marketShapes(market: Market): FeatureCollection {
  const area: Feature = { type: "Feature", properties: { kind: "area" }, geometry: market.area };
  const malls: Feature[] = market.malls.map((mall) => ({
    type: "Feature",
    properties: { kind: "mall", id: mall.id, paused: mall.paused ?? false },
    geometry: mall.outline,
  }));
  return { type: "FeatureCollection", features: [area, ...malls] };
}

export function gatePoints(market: Market): FeatureCollection {
  const gates = market.malls.flatMap((mall) => mall.gates);
  return {
    type: "FeatureCollection",
    features: gates.map((gate) => ({
      type: "Feature",
      properties: { id: gate.id },
      geometry: { type: "Point", coordinates: [gate.lon, gate.lat] },
    })),
  };
}

/**
 * What the map opens on, as west, south, east, north: the malls, and the drivers and orders that are
 * in the market's area. The area itself is often far wider.
 */
export function extentOf(market: Market, layers: readonly Layer[]): [number, number, number, number] {
  const [west, south, east, north] = boundsOf(market.area.coordinates[0] ?? []);
  const malls = market.malls.flatMap((mall) => mall.outline.coordinates[0] ?? []);
  const spots = layers
    .flatMap((layer) => layer.spots)
    .filter(({ lon, lat }) => lon >= west && lon <= east && lat >= south && lat <= north)
    .map(({ lon, lat }) => [lon, lat]);
  const found = [...malls, ...spots];
  return found.length > 0 ? boundsOf(found) : [west, south, east, north];
}

function boundsOf(points: readonly (readonly number[])[]): [number, number, number, number] {
  let [west, south, east, north] = [180, 90, -180, -90];
  for (const [lon = 0, lat = 0] of points) {
    west = Math.min(west, lon);
    south = Math.min(south, lat);
    east = Math.max(east, lon);
    north = Math.max(north, lat);
  }
  return [west, south, east, north];
}

export function driverSpots(drivers: Iterable<Driver>): Spot[] {
  const found: Spot[] = [];
  for (const { driver: id, lat, lon, ...driver } of drivers)
    if (lat !== null && lon !== null && driver.state !== "offline") found.push({ id, lon, lat, look: lookOf(driver) });
  return found;
}

export function jobSpots(jobs: Iterable<Job>): Spot[] {
  const found: Spot[] = [];
  for (const job of jobs) if (!job.terminal) found.push({ id: job.id, lon: job.dropoff.lon, lat: job.dropoff.lat, look: riskOf(job) });
  return found;
}

function lookOf(driver: Pick<Driver, "connected" | "state" | "jobs">): Look {
  if (driver.connected === false) return "gone";
  if (driver.state === "on_run" || driver.jobs.length > 0) return "busy";
  return driver.state === "available" || driver.state === "offered" ? "free" : "gone";
}

function riskOf(job: Job): Look {
  return job.risk === "late" || job.risk === "at_risk" ? job.risk : "order";
}

/** What of the world is in a window: its centre, in units of the whole world, and pixels to a world. */
export interface View {
  x: number;
  y: number;
  world: number;
  width: number;
  height: number;
}

/** A spot in a window. */
export interface Placed {
  layer: Layer["name"];
  spot: Spot;
  x: number;
  y: number;
}

/** Where a longitude is in the whole world, 0–1 from the west (Web Mercator). */
export function worldX(lon: number): number {
  return (lon + 180) / 360;
}

/** Where a latitude is in the whole world, 0–1 from the north (Web Mercator). */
export function worldY(lat: number): number {
  return 0.5 - Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360)) / (2 * Math.PI);
}

/** How what was drawn for one view must be moved to fit another, about the middle of the window. */
export function shift(drawn: View, view: View): { x: number; y: number; scale: number } {
  return { x: (drawn.x - view.x) * view.world, y: (drawn.y - view.y) * view.world, scale: view.world / drawn.world };
}

/** The spots that are in sight, in the order in which they are drawn. The map is never turned. */
export function placed(layers: readonly Layer[], view: View, margin: number): Placed[] {
  const found: Placed[] = [];
  for (const { name, spots } of layers)
    for (const spot of spots) {
      const x = (worldX(spot.lon) - view.x) * view.world + view.width / 2;
      const y = (worldY(spot.lat) - view.y) * view.world + view.height / 2;
      if (x > -margin && y > -margin && x < view.width + margin && y < view.height + margin) found.push({ layer: name, spot, x, y });
    }
  return found;
}

/** The spot nearest to a point of the window, of those within reach; the one on top of two. */
export function nearest(spots: readonly Placed[], x: number, y: number, reach: number): Placed | null {
  let best: Placed | null = null;
  let least = reach * reach;
  for (const spot of spots) {
    const square = (spot.x - x) ** 2 + (spot.y - y) ** 2;
    if (square <= least) {
      best = spot;
      least = square;
    }
  }
  return best;
}
