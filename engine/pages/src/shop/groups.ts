/** In which order a counter sees its pickups, and which of them a typed code may mean. */

import type { Pickup, ShopEntry } from "./types.ts";

export type Group = "here" | "coming" | "waiting" | "done";

/** Nothing is left to hand over, also while parcels come back. */
const ENDED = new Set(["returning", "delivered", "returned", "cancelled", "expired", "failed", "lost"]);

/** This shop's part of a job; an empty one if the engine left it out. */
export function entryOf(pickup: Pickup): ShopEntry {
  return pickup.stores[0] ?? { store: "", state: "waiting", parcels: 0 };
}

/** The number that staff know an order by. */
export function nameOf(it: { id: string; external_id?: string }): string {
  return it.external_id ?? it.id.split(".").at(-1) ?? it.id;
}

export function groupOf(pickup: Pickup): Group {
  if (entryOf(pickup).state === "collected" || ENDED.has(pickup.state)) return "done";
  if (pickup.state === "at_mall" || pickup.state === "picked_up") return "here";
  return pickup.state === "assigned" ? "coming" : "waiting";
}

/** The pickups by group, each with the driver who comes first at its top. */
export function grouped(pickups: readonly Pickup[]): Record<Group, Pickup[]> {
  const groups: Record<Group, Pickup[]> = { here: [], coming: [], waiting: [], done: [] };
  for (const pickup of pickups) groups[groupOf(pickup)].push(pickup);
  const at = (it: Pickup) => (it.eta.pickup === null ? Infinity : Date.parse(it.eta.pickup));
  for (const group of ["here", "coming"] as const) groups[group].sort((a, b) => at(a) - at(b));
  return groups;
}

/** Whether the counter can still say something about a pickup. */
export function isOpen(pickup: Pickup): boolean {
  return groupOf(pickup) !== "done";
}

/** What was typed or scanned: the order itself, or the code of one of these drivers. */
export type Meaning =
  | { kind: "order"; pickup: Pickup }
  | { kind: "code"; code: string; candidates: Pickup[] };

/**
 * Interprets a typed or scanned text: an order's number opens that order. Anything else is
 * a driver's code; it belongs to a driver at the counter, or else to one on the way.
 */
export function meaningOf(text: string, pickups: readonly Pickup[]): Meaning {
  const typed = text.trim();
  const names = (it: Pickup) => [it.external_id, it.id, nameOf(it), entryOf(it).pickup_code];
  const order = pickups.find((it) => isOpen(it) && names(it).includes(typed));
  if (order) return { kind: "order", pickup: order };
  const { here, coming } = grouped(pickups);
  return { kind: "code", code: typed, candidates: here.length > 0 ? here : coming };
}
