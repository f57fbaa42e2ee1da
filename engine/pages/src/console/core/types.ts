/** What the console reads of the API's resources; the documents in docs/contract have all of it. */

export type Instant = string;

export interface Shop {
  store: string;
  state?: string;
  parcels?: number;
  collected_parcels?: number;
  ready_at?: Instant;
  pickup_code?: string;
}

export interface Problem {
  id: string;
  kind: string;
  text: string;
  at: Instant;
  until: Instant | null;
  state: string;
  store?: string;
  answer?: { action: string; text: string; at: Instant; actor: string };
}

export interface TimelineEntry {
  state: string;
  at: Instant;
  actor: string;
  cause: string;
  occurred_at?: Instant;
}

export interface Job {
  id: string;
  market: string;
  state: string;
  terminal: boolean;
  attempt: number;
  driver: string | null;
  reason: string | null;
  created_at: Instant;
  updated_at: Instant;
  expires_at: Instant;
  eta: { pickup: Instant | null; dropoff: Instant | null };
  timeline?: TimelineEntry[];
  pickup: { mall: string; stores: Shop[]; window_end?: Instant };
  dropoff: {
    lat: number;
    lon: number;
    address?: string;
    name?: string;
    contact?: string;
    note?: string;
    deadline?: Instant;
  };
  parcels: { count: number; weight_g?: number; volume_l?: number };
  requires: string[];
  priority: number;
  external_id?: string;
  pay?: { amount_minor: number; currency: string; max_minor?: number };
  metadata?: Record<string, unknown>;
  service_level?: string;
  risk?: string;
  held?: { why: string; place: string; store: string; until: Instant } | null;
  problems?: Problem[];
  proofs?: { kind: string; step: string; at: Instant; value?: string }[];
  transfer?: { id: string; alias: string | null; eta: Instant | null; code?: string } | null;
  return_to?: { kind: string; mall: string; store: string; open_until: Instant | null } | null;
  kind?: string;
  carries?: string[];
  delivery_attempts?: number;
  cancel_requested?: boolean;
  cancelled_by?: string | null;
  cancel_reason?: string | null;
  cancel_note?: string | null;
  tracking_url?: string | null;
}

export interface Driver {
  driver: string;
  state: string;
  lat: number | null;
  lon: number | null;
  at_ms: number | null;
  jobs: string[];
  barred?: { why: string; until_ms: number | null } | null;
  suspended?: boolean;
  suspended_for?: string | null;
  connected?: boolean;
  vehicle?: { kind: string; max_jobs: number; max_weight_g: number; max_volume_l: number } | null;
  qualifications?: string[];
  last_seen?: Instant | null;
  alias?: string | null;
}

export interface Alert {
  id: string;
  market: string;
  what: string;
  state: string;
  at: Instant;
  job?: string;
  driver?: string;
  details?: Record<string, unknown>;
  acknowledged_by?: string;
}

export interface LiveEvent {
  id: string;
  sequence: number;
  type: string;
  occurred_at: Instant;
  recorded_at: Instant;
  market: string;
  job?: string;
  driver?: string;
  data: Record<string, unknown>;
}

export interface Polygon {
  type: "Polygon";
  coordinates: number[][][];
}

export interface Mall {
  id: string;
  name: string;
  lat: number;
  lon: number;
  outline: Polygon;
  gates: { id: string; lat: number; lon: number }[];
  stores: { id: string; name: string; gate: string; floor: number; paused?: boolean }[];
  paused?: boolean;
}

export interface Market {
  id: string;
  name: string;
  area: Polygon;
  malls: Mall[];
  paused?: boolean;
}

export interface Candidate {
  driver: string;
  eligible: boolean;
  why_not: string | null;
  cost_s: number | null;
  terms: Record<string, number>;
  eta_s: number;
  distance_m: number;
}

export interface Explanation {
  job: string;
  round: number;
  at: Instant | null;
  radius_m: number;
  capped: boolean;
  candidates: Candidate[];
  asked: { driver: string; attempt: number; outcome: string; at: Instant; reason?: string }[];
  run_jobs: number;
  run_why: string | null;
  held_until: Instant | null;
  policy_version: number;
}

export interface Policy {
  version: number;
  preset: string | null;
  set: Record<string, unknown>;
  effective: Record<string, unknown>;
  changed_by?: string;
  changed_at?: Instant;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}
