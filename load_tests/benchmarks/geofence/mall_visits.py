"""Arrivals and departures that the geofence detects in noisy drives to and past malls.

python -m load_tests.benchmarks.geofence.mall_visits [--traces N] [--seed N]
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from load_tests.benchmarks.geofence.gps_noise import GpsNoise, NoisyFix, Point
from mallard_engine.core.places.geofence import GATE_RADIUS_M, Change, Presence, Sighting
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places

_EVERY_S = 4.0
_NEAR_M = 70.0
_MAX_ACC_M = 100.0
_APPROACH_M = 900.0
# No mall's geofence extends further from its centre.
_FURTHEST_M = 450.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The detected arrival and departure of one trace, in seconds."""

    arrived_s: float | None
    left_s: float | None
    arrivals: int
    departures: int


def visit(mall: Mall, rng: random.Random) -> tuple[list[Point], float, float]:
    """Return a trace to a gate, inside and away, with the times of parking and of leaving."""
    gate = rng.choice(tuple(mall.gates.values()))
    gate_xy = mall.plane.xy(gate.lat, gate.lon)
    angle = math.atan2(gate_xy[1], gate_xy[0]) + rng.uniform(-0.7, 0.7)
    far = (
        gate_xy[0] + _APPROACH_M * math.cos(angle),
        gate_xy[1] + _APPROACH_M * math.sin(angle),
    )
    inside = (gate_xy[0] * rng.uniform(0.1, 0.8), gate_xy[1] * rng.uniform(0.1, 0.8))
    garage = rng.random() < 0.25
    trace: list[Point] = []
    at_s = _drive(trace, 0.0, far, gate_xy, rng, hidden_from_m=60.0 if garage else 0.0)
    parked_s = at_s
    hidden_s = rng.uniform(20, 120) if garage else 0.0
    for start, end, lasts in (
        (gate_xy, inside, rng.uniform(60, 240)),
        (inside, inside, rng.uniform(30, 420)),
        (inside, gate_xy, rng.uniform(60, 240)),
    ):
        until = at_s + lasts
        while at_s < until:
            part = 1 - (until - at_s) / lasts
            hidden = at_s - parked_s < hidden_s
            east, north = (a + (b - a) * part for a, b in zip(start, end, strict=True))
            pace = 0.0 if start == end else 1.2
            trace.append(Point(at_s, east, north, pace, indoors=True, hidden=hidden))
            at_s += _EVERY_S
    gone_s = at_s
    _drive(trace, at_s, gate_xy, far, rng)
    return trace, parked_s, gone_s


def drive_by(mall: Mall, rng: random.Random, beside_m: float, *, light: bool) -> list[Point]:
    """Return a trace past the mall, `beside_m` from its outline, with a red light if `light`."""
    angle = rng.uniform(0, 2 * math.pi)
    ahead, side = (-math.sin(angle), math.cos(angle)), (math.cos(angle), math.sin(angle))
    reach = max(x * side[0] + y * side[1] for x, y in mall.outline_m.exterior.coords) + beside_m
    speed = rng.uniform(9, 20)
    stop_m = rng.uniform(-60, 60) if light else math.inf
    at_s, along, trace = 0.0, -_APPROACH_M, []
    waits_until = math.inf
    while along < _APPROACH_M:
        pace = speed
        if along >= stop_m:
            if waits_until == math.inf:
                waits_until = at_s + rng.uniform(15, 75)
            if at_s < waits_until:
                pace = 0.0
        trace.append(
            Point(
                at_s,
                reach * side[0] + along * ahead[0],
                reach * side[1] + along * ahead[1],
                pace,
            )
        )
        along += pace * _EVERY_S
        at_s += _EVERY_S
    return trace


def with_geofence(mall: Mall, fixes: Iterator[NoisyFix]) -> Verdict:
    """Apply the engine's geofence to the fixes."""
    presence: Presence | None = None
    arrived_s = left_s = None
    arrivals = departures = 0
    for fix in fixes:
        if fix.acc_m > _MAX_ACC_M:
            continue
        change = None
        if _is_near(mall, fix):
            presence = presence or Presence(mall.id)
            lat, lon = _degrees(mall, fix.east_m, fix.north_m)
            place_m = mall.place_distance_m(lat, lon, GATE_RADIUS_M)
            at_ms = round(fix.at_s * 1000)
            change = presence.near(Sighting(at_ms, place_m, fix.east_m, fix.north_m, fix.speed_mps))
        elif presence is not None:
            change = presence.outside(fix.speed_mps)
            if presence.is_over:
                presence = None
        if change is Change.ARRIVED:
            arrivals += 1
            arrived_s = fix.at_s if arrived_s is None else arrived_s
        elif change is Change.LEFT:
            departures += 1
            left_s = fix.at_s
    return Verdict(arrived_s, left_s, arrivals, departures)


def with_single_fix(mall: Mall, fixes: Iterator[NoisyFix]) -> Verdict:
    """Apply the simplest rule: one fix near the mall is an arrival, one outside a departure."""
    here = False
    arrived_s = left_s = None
    arrivals = departures = 0
    for fix in fixes:
        if fix.acc_m > _MAX_ACC_M:
            continue
        near = _is_near(mall, fix)
        if near and not here:
            arrivals += 1
            arrived_s = fix.at_s if arrived_s is None else arrived_s
        elif here and not near:
            departures += 1
            left_s = fix.at_s
        here = near
    return Verdict(arrived_s, left_s, arrivals, departures)


_Rule = Callable[[Mall, Iterator[NoisyFix]], Verdict]


@dataclass(frozen=True, slots=True)
class VisitStatistics:
    """The shares of visits that were detected wrongly, and the delay of arrivals."""

    traces: int
    missed: float
    too_early: float
    left_while_there: float
    departure_missed: float
    delay_median_s: float
    delay_p95_s: float


def visit_statistics(
    malls: Sequence[Mall],
    noise: GpsNoise,
    traces: int,
    seed: int,
    apply_rule: _Rule = with_geofence,
) -> VisitStatistics:
    """Apply a rule to drives to malls. ``too_early``: over 30 s before parking."""
    rng = random.Random(f"{seed} visits")
    missed = early = left = kept = 0
    delays = []
    for number in range(traces):
        mall = malls[number % len(malls)]
        trace, parked_s, gone_s = visit(mall, rng)
        verdict = apply_rule(mall, noise.fixes(trace, rng))
        if verdict.arrived_s is None or verdict.arrived_s > gone_s:
            missed += 1
            continue
        delays.append(verdict.arrived_s - parked_s)
        early += verdict.arrived_s < parked_s - 30
        left += verdict.departures > 1 or (verdict.left_s is not None and verdict.left_s < gone_s)
        kept += verdict.left_s is None
    delays.sort()
    return VisitStatistics(
        traces,
        missed / traces,
        early / traces,
        left / traces,
        kept / traces,
        round(statistics.median(delays), 1),
        round(delays[int(0.95 * len(delays))], 1),
    )


def drive_by_share(
    malls: Sequence[Mall],
    noise: GpsNoise,
    traces: int,
    seed: int,
    beside_m: float,
    apply_rule: _Rule = with_geofence,
    *,
    light: bool,
) -> float:
    """Return the share of drives past a mall that count as arrivals."""
    rng = random.Random(f"{seed} {beside_m} {light}")
    false = 0
    for number in range(traces):
        mall = malls[number % len(malls)]
        trace = drive_by(mall, rng, beside_m, light=light)
        false += apply_rule(mall, noise.fixes(trace, rng)).arrivals > 0
    return false / traces


def _drive(
    trace: list[Point],
    at_s: float,
    start: tuple[float, float],
    end: tuple[float, float],
    rng: random.Random,
    hidden_from_m: float = 0.0,
) -> float:
    """Append a drive, slow within 150 m of the gate; return its end in seconds."""
    total = math.dist(start, end)
    speed, done = rng.uniform(10, 17), 0.0
    near_start = math.hypot(*start) < math.hypot(*end)
    while done < total:
        part = done / total
        to_gate = done if near_start else total - done
        pace = 4.0 if to_gate < 150 else speed
        east, north = (a + (b - a) * part for a, b in zip(start, end, strict=True))
        trace.append(Point(at_s, east, north, pace, hidden=to_gate < hidden_from_m))
        done += pace * _EVERY_S
        at_s += _EVERY_S
    return at_s


def _is_near(mall: Mall, fix: NoisyFix) -> bool:
    if math.hypot(fix.east_m, fix.north_m) > _FURTHEST_M:
        return False
    return mall.distance_to_outline_m(*_degrees(mall, fix.east_m, fix.north_m)) <= _NEAR_M


def _degrees(mall: Mall, east_m: float, north_m: float) -> tuple[float, float]:
    plane = mall.plane
    return mall.lat + north_m / plane.m_per_deg_lat, mall.lon + east_m / plane.m_per_deg_lon


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    malls = [mall for mall in Places.load().malls.values() if mall.kind == "mall"]
    for name, noise in (("with speed", GpsNoise()), ("no speed", GpsNoise(reports_speed=False))):
        for rule, apply_rule in (("geofence", with_geofence), ("single fix", with_single_fix)):
            statistics = visit_statistics(malls, noise, options.traces, options.seed, apply_rule)
            past = {
                f"{beside} m{', red light' if light else ''}": round(
                    drive_by_share(
                        malls, noise, options.traces, options.seed, beside, apply_rule, light=light
                    ),
                    4,
                )
                for light in (False, True)
                for beside in (20.0, 40.0, 60.0, 100.0)
            }
            row = {"device": name, "rule": rule, **asdict(statistics), "past": past}
            sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    _main()
