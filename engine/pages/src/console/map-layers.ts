/** GeoJSON of what the map shows. Pure. */

import type { FeatureCollection, Feature } from "geojson";
import type { Driver, Job, Market } from "./types.ts";

/** A longitude, a latitude, and what is known of the point. */
type Spot = [number, number, object];

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
  return points(market.malls.flatMap((mall) => mall.gates.map((gate): Spot => [gate.lon, gate.lat, { id: gate.id }])));
}

/** A driver's shape says its state: free, on a run, out of reach. */
export function driverPoints(drivers: Iterable<Driver>): FeatureCollection {
  const found: Spot[] = [];
  for (const driver of drivers)
    if (driver.lat !== null && driver.lon !== null && driver.state !== "offline")
      found.push([driver.lon, driver.lat, { id: driver.driver, look: lookOf(driver) }]);
  return points(found);
}

export function jobPoints(jobs: Iterable<Job>): FeatureCollection {
  const found: Spot[] = [];
  for (const job of jobs)
    if (!job.terminal) found.push([job.dropoff.lon, job.dropoff.lat, { id: job.id, risk: job.risk ?? "none" }]);
  return points(found);
}

export function points(items: Spot[]): FeatureCollection {
  return {
    type: "FeatureCollection",
    features: items.map(([lon, lat, properties]) => ({
      type: "Feature",
      properties,
      geometry: { type: "Point", coordinates: [lon, lat] },
    })),
  };
}

function lookOf(driver: Driver): string {
  if (driver.connected === false) return "gone";
  if (driver.state === "on_run" || driver.jobs.length > 0) return "busy";
  return driver.state === "available" || driver.state === "offered" ? "free" : "gone";
}
