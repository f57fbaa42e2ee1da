import { expect, test } from "vitest";
import { filterDrivers, filterJobs, jobFilter, jobQuery } from "./filters.ts";
import { namesOf } from "./places.ts";
import { at, driver, job, MARKET } from "./samples.ts";

const NAMES = namesOf(MARKET);
const JOBS = [
  job("j1", { external_id: "ORD-1", dropoff: { lat: 0, lon: 0, name: "Ms Ito", deadline: at(900) } }),
  job("j2", { state: "delivered", terminal: true }),
  job("j3", { state: "assigned", driver: "ana", risk: "late", dropoff: { lat: 0, lon: 0, deadline: at(300) } }),
];

test("a filter survives the way through the URL", () => {
  const filter = { states: ["queued", "offered"], risk: "late", mall: "chandler", level: "express", text: "a b&c=d#", sort: "age" };
  expect(jobFilter(new URLSearchParams(jobQuery(filter).toString()))).toEqual(filter);
  expect(jobQuery(jobFilter(new URLSearchParams())).toString()).toBe("");
  expect(jobFilter(new URLSearchParams("sort=__proto__")).sort).toBe("due");
});

test("without states the open jobs are listed, due first", () => {
  const filter = jobFilter(new URLSearchParams());
  expect(filterJobs(JOBS, filter, NAMES).map((it) => it.id)).toEqual(["j3", "j1"]);
  expect(filterJobs(JOBS, { ...filter, states: ["delivered"] }, NAMES).map((it) => it.id)).toEqual(["j2"]);
  expect(filterJobs(JOBS, { ...filter, text: "ito" }, NAMES).map((it) => it.id)).toEqual(["j1"]);
  expect(filterJobs(JOBS, { ...filter, risk: "late" }, NAMES).map((it) => it.id)).toEqual(["j3"]);
});

test("drivers are found by name, state and job", () => {
  const drivers = [driver("ana", { jobs: ["j3"], state: "on_run" }), driver("ben")];
  expect(filterDrivers(drivers, { state: "", text: "J3" }).map((it) => it.driver)).toEqual(["ana"]);
  expect(filterDrivers(drivers, { state: "available", text: "" }).map((it) => it.driver)).toEqual(["ben"]);
});
