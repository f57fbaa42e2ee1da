"""Makers of drivers, jobs and offers with defaults, for the tests of the core."""

from dataclasses import replace
from typing import Any

from mallard_engine.core.matching.acceptance import CELLS
from mallard_engine.core.matching.ranking import Matcher
from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.model import Asked, Driver, HeldJob, Near, Need, Position, Vehicle, Waiting
from mallard_engine.core.places.markets import Mall, Places
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_protocol.lifecycle import Wish

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
MALL: Mall = Places.load(opening_hours=False).mall("chandler-fashion-center")
POLICY = MarketPolicy(weights=CostWeights(acceptance=1.0))
# How the offers of one have ended who took none of a hundred in any cell, and let half lapse.
REFUSES_ALL = "\x00\x64" * CELLS + "\x32\x32"
TRAVEL = StraightLine(POLICY.circuity, POLICY.speed_mps)


def need(now_ms: int = NOW_MS, *, expires_in_ms: int | None = None, **changes: Any) -> Need:
    """A small parcel at the LEGO store, ready now and due in four hours, some kilometres away. It
    expires at its deadline unless ``expires_in_ms`` says otherwise."""
    plain = Need(
        stores=("lego",),
        ready_ms=now_ms,
        deadline_ms=now_ms + 4 * HOUR_MS,
        expires_ms=0,
        lat=33.32,
        lon=-111.84,
        parcels=1,
        weight_g=1_000,
        volume_l=5.0,
        requires=(),
        priority=0,
        created_ms=now_ms,
    )
    asked = replace(plain, **changes)
    if "expires_ms" in changes:
        return asked
    expires_ms = asked.deadline_ms if expires_in_ms is None else now_ms + expires_in_ms
    return replace(asked, expires_ms=expires_ms)


def driver(name: str, **changes: Any) -> Driver:
    """A driver who has just become available, with a plain car."""
    plain = Driver(id=name, wish=Wish.AVAILABLE, connected=True, free_since_ms=NOW_MS)
    return replace(plain, **changes)


def vehicle(**changes: Any) -> Vehicle:
    return replace(Vehicle(), **changes)


def near(who: str | Driver, north_m: float = 1_000.0) -> Near:
    """A driver at this distance north of the mall's centre."""
    known = driver(who) if isinstance(who, str) else who
    lat = MALL.lat + north_m / 111_195
    return Near(known, Position(lat, MALL.lon, 5.0, NOW_MS, NOW_MS), abs(north_m))


def held_job(name: str = "job_phoenix.held", **changes: Any) -> HeldJob:
    """A job of this mall that a driver is on its way to collect."""
    plain = HeldJob(
        name, 1, MALL.id, lat=33.32, lon=-111.84, deadline_ms=NOW_MS + 4 * HOUR_MS, weight_g=1_000
    )
    return replace(plain, **changes)


def waiting(name: str = "job_phoenix.1", **changes: Any) -> Waiting:
    return replace(Waiting(name, attempt=0, need=need(), asked=(), card=b""), **changes)


def turn(who: str, outcome: str, ago_ms: int = 1_000) -> Asked:
    return Asked(who, 1, outcome, NOW_MS - ago_ms)


def matcher(*drivers: Near, policy: MarketPolicy = POLICY) -> Matcher:
    return Matcher(MALL, drivers, NOW_MS, policy, TRAVEL)
