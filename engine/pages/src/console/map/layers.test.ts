import { expect, test } from "vitest";
import { driver, job, MARKET } from "../core/samples.ts";
import { driverSpots, extentOf, jobSpots, nearest, placed, shift, worldX, worldY, type Layer } from "./layers.ts";

const VIEW = { x: worldX(-111.8), y: worldY(33.3), world: 512 * 2 ** 12, width: 1000, height: 600 };

test("the centre of the map is the middle of the window, north is up", () => {
  const layers: Layer[] = [{ name: "drivers", spots: driverSpots([driver("ana"), driver("ben", { lat: 33.31 })]) }];
  const [ana, ben] = placed(layers, VIEW, 10);
  expect([ana?.x, ana?.y]).toEqual([500, 300]);
  // 0.01 degrees of latitude are 1.1 km; a pixel is 16 m there at this zoom.
  expect(ben?.y).toBeCloseTo(300 - 69.7, 0);
});

test("what is out of sight is not drawn, and drivers lie on top of orders", () => {
  const layers: Layer[] = [
    { name: "jobs", spots: jobSpots([job("j1"), job("far", { dropoff: { lat: 34.9, lon: -111.8 } }), job("ended", { terminal: true })]) },
    { name: "drivers", spots: driverSpots([driver("ana"), driver("off", { state: "offline" }), driver("new", { lat: null, lon: null })]) },
  ];
  expect(placed(layers, VIEW, 10).map((it) => it.spot.id)).toEqual(["j1", "ana"]);
  expect(nearest(placed(layers, VIEW, 10), 503, 304, 12)?.spot.id).toBe("ana");
  expect(nearest(placed(layers, VIEW, 10), 520, 304, 12)).toBeNull();
});

test("the map opens on the malls, and on the drivers and orders of the area", () => {
  expect(extentOf(MARKET, [])).toEqual([-111.91, 33.29, -111.89, 33.31]);
  const drivers = driverSpots([driver("ana", { lat: 33.4, lon: -111.95 }), driver("lost", { lat: 0, lon: 0 })]);
  const jobs = jobSpots([job("j", { dropoff: { lat: 33.2, lon: -111.8 } })]);
  expect(extentOf(MARKET, [{ name: "jobs", spots: jobs }, { name: "drivers", spots: drivers }])).toEqual([-111.95, 33.2, -111.8, 33.4]);
  expect(extentOf({ ...MARKET, malls: [] }, [])).toEqual([-113, 32, -111, 34]);
});

test("the look of a spot shows its state", () => {
  const looks = driverSpots([driver("a"), driver("b", { jobs: ["j"] }), driver("c", { connected: false }), driver("d", { state: "paused" })]);
  expect(looks.map((it) => it.look)).toEqual(["free", "busy", "gone", "gone"]);
  expect(jobSpots([job("a", { risk: "late" }), job("b", { risk: "at_risk" }), job("c")]).map((it) => it.look)).toEqual(["late", "at_risk", "order"]);
});

test("what is drawn moves along with the map as if it were drawn anew", () => {
  const layers: Layer[] = [{ name: "drivers", spots: driverSpots([driver("ana", { lat: 33.32, lon: -111.75 })]) }];
  const next = { ...VIEW, x: worldX(-111.77), y: worldY(33.29), world: VIEW.world * 2 };
  const { x, y, scale } = shift(VIEW, next);
  const [before] = placed(layers, VIEW, 1000);
  const [after] = placed(layers, next, 1000);
  expect(((before?.x ?? 0) - 500) * scale + 500 + x).toBeCloseTo(after?.x ?? 0, 6);
  expect(((before?.y ?? 0) - 300) * scale + 300 + y).toBeCloseTo(after?.y ?? 0, 6);
});
