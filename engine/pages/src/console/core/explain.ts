/** The candidates of a round, as a table whose costs can be compared at a glance. Pure. */

import type { Candidate, Explanation } from "./types.ts";

export interface Term {
  name: string;
  seconds: number;
  /** Its share of the longest bar, 0–1; what lowers the cost is negative. */
  share: number;
}

export interface CandidateRow {
  rank: number;
  candidate: Candidate;
  terms: Term[];
  /** How much dearer than the best, in seconds; null for one that does not fit. */
  behindS: number | null;
  outcome: string | null;
}

/** Return the candidates: those who fit by cost, then the others by distance. */
export function candidateRows(explanation: Explanation): CandidateRow[] {
  const asked = new Map(explanation.asked.map((it) => [it.driver, it.outcome]));
  const sorted = [...explanation.candidates].sort(
    (a, b) =>
      Number(b.eligible) - Number(a.eligible) ||
      (a.cost_s ?? Infinity) - (b.cost_s ?? Infinity) ||
      a.distance_m - b.distance_m,
  );
  const best = sorted.find((it) => it.eligible)?.cost_s ?? null;
  const longest = Math.max(1, ...sorted.flatMap((it) => [sum(it, (s) => Math.max(0, s)), sum(it, (s) => Math.max(0, -s))]));
  return sorted.map((candidate, index) => ({
    rank: index + 1,
    candidate,
    terms: Object.entries(candidate.terms)
      .filter(([, seconds]) => Math.abs(seconds) >= 0.05)
      .map(([name, seconds]) => ({ name, seconds, share: seconds / longest })),
    behindS: candidate.eligible && candidate.cost_s !== null && best !== null ? candidate.cost_s - best : null,
    outcome: asked.get(candidate.driver) ?? null,
  }));
}

/** The names of all terms, in the order of their first appearance: the legend. */
export function termNames(rows: CandidateRow[]): string[] {
  return [...new Set(rows.flatMap((row) => row.terms.map((term) => term.name)))];
}

function sum(candidate: Candidate, of: (seconds: number) => number): number {
  return Object.values(candidate.terms).reduce((total, seconds) => total + of(seconds), 0);
}
