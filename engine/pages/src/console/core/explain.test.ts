import { expect, test } from "vitest";
import { candidateRows, termNames } from "./explain.ts";
import type { Candidate, Explanation } from "./types.ts";

function candidate(driver: string, change: Partial<Candidate>): Candidate {
  return { driver, eligible: true, why_not: null, cost_s: 100, terms: {}, eta_s: 60, distance_m: 500, ...change };
}

const EXPLANATION: Explanation = {
  ...{ job: "j", round: 2, at: null, radius_m: 5000, capped: false, run_jobs: 1, run_why: null, held_until: null, policy_version: 0 },
  asked: [
    { driver: "ben", attempt: 1, outcome: "declined", at: "2026-11-27T12:00:00Z" },
    { driver: "ben", attempt: 2, outcome: "accepted", at: "2026-11-27T12:01:00Z" },
  ],
  candidates: [
    candidate("cem", { eligible: false, why_not: "no_room", cost_s: null, distance_m: 10 }),
    candidate("ben", { cost_s: 200, terms: { drive: 180, idle: -20, wait: -0.01 } }),
    candidate("ana", { cost_s: 90, terms: { drive: 90 } }),
  ],
};

test("those who fit come first, by cost", () => {
  const rows = candidateRows(EXPLANATION);
  expect(rows.map((row) => row.candidate.driver)).toEqual(["ana", "ben", "cem"]);
  expect(rows.map((row) => row.behindS)).toEqual([0, 110, null]);
  expect(rows[1]?.outcome).toBe("accepted");
});

test("bars share one scale, and what is nothing is left out", () => {
  const rows = candidateRows(EXPLANATION);
  expect(rows[0]?.terms).toEqual([{ name: "drive", seconds: 90, share: 0.5 }]);
  expect(rows[1]?.terms.map((term) => [term.name, term.share.toFixed(2)])).toEqual([["drive", "1.00"], ["idle", "-0.11"]]);
  expect(termNames(rows)).toEqual(["drive", "idle"]);
  expect(candidateRows({ ...EXPLANATION, candidates: [] })).toEqual([]);
});
