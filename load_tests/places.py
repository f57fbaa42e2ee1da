"""The malls of the engine under test, and random homes and orders around them."""

import json
import math
import random
import urllib.request
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from mallard_engine.workload.road import Point, moved

_HOMES_WITHIN_M: Final = 3_000.0
_DROPOFFS_WITHIN_M: Final = 5_000.0
_ANSWER_WITHIN_S: Final = 10.0


class NoPlaces(Exception):
    """The markets cannot be read, or a requested one does not exist."""


@dataclass(frozen=True, slots=True)
class Mall:
    """A mall; `area` is the outline of its market's service area, as (lon, lat)."""

    id: str
    market: str
    at: Point
    stores: tuple[str, ...]
    area: tuple[tuple[float, float], ...]

    def point_near(self, within_m: float, rng: random.Random) -> Point:
        """Draw a point around the mall within the service area, uniformly over the area."""
        while True:
            point = moved(self.at, within_m * math.sqrt(rng.random()), rng.uniform(0, math.tau))
            if _is_inside(point, self.area):
                return point


class RunPlaces:
    """The malls of a run."""

    def __init__(self, malls: Sequence[Mall]) -> None:
        self.malls = malls

    @classmethod
    def read(
        cls, node: str, token: str, *, markets: Collection[str] = (), malls: Collection[str] = ()
    ) -> Self:
        """Read a node's places, restricted to the named markets and malls. Raises `NoPlaces`."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked with the target
            f"{node}/v1/markets", headers={"Authorization": f"Bearer {token}"}
        )
        # No proxy of the environment: it may be on another machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_ANSWER_WITHIN_S) as response:
                markets_json = json.load(response)["items"]
        except (OSError, ValueError) as error:
            raise NoPlaces(f"{node}/v1/markets: {error}") from error
        found = [
            mall
            for market in markets_json
            for mall in _malls(market)
            if (not markets or mall.market in markets) and (not malls or mall.id in malls)
        ]
        named = {mall.market for mall in found} | {mall.id for mall in found}
        if missing := (set(markets) | set(malls)) - named:
            raise NoPlaces(f"{node} has no {', '.join(sorted(missing))} among the requested places")
        return cls(found)

    @property
    def flash_mall(self) -> Mall:
        """The first mall, which has the flash sale."""
        return self.malls[0]

    @property
    def elsewhere(self) -> "RunPlaces":
        """The malls outside the sale's market; all malls if there is only one market."""
        market = self.flash_mall.market
        return RunPlaces([mall for mall in self.malls if mall.market != market] or self.malls)

    def home(
        self, rng: random.Random, market: str | None = None, *, near_flash_mall: bool = False
    ) -> tuple[Mall, Point]:
        """Draw a mall, of `market` if given, and a driver's start near it."""
        malls = [mall for mall in self.malls if market in {None, mall.market}]
        if not malls:
            raise NoPlaces(f"a driver of {market} has no orders: that market is not in the run")
        mall = malls[0] if near_flash_mall else rng.choice(malls)
        return mall, mall.point_near(_HOMES_WITHIN_M, rng)

    def order(self, rng: random.Random, mall: Mall | None = None) -> dict[str, Any]:
        """Draw the body of an order: one parcel of one store, ready now, to within 5 km."""
        mall = mall or rng.choice(self.malls)
        lat, lon = mall.point_near(_DROPOFFS_WITHIN_M, rng)
        return {
            "pickup": {"mall": mall.id, "stores": [{"store": rng.choice(mall.stores)}]},
            "dropoff": {"lat": round(lat, 6), "lon": round(lon, 6)},
            "parcels": {"count": 1, "weight_g": 900, "volume_l": 4},
        }


def _malls(market: dict[str, Any]) -> list[Mall]:
    ring = tuple((lon, lat) for lon, lat, *_ in market["area"]["coordinates"][0])
    return [
        Mall(
            mall["id"],
            market["id"],
            (mall["lat"], mall["lon"]),
            tuple(store["id"] for store in mall["stores"]),
            ring,
        )
        for mall in market["malls"]
    ]


def _is_inside(point: Point, ring: Sequence[tuple[float, float]]) -> bool:
    """Return whether a ray from the point crosses the ring an odd number of times."""
    lat, lon = point
    inside = False
    for (lon_a, lat_a), (lon_b, lat_b) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if (lat_a > lat) != (lat_b > lat):
            crosses = lon_a + (lat - lat_a) / (lat_b - lat_a) * (lon_b - lon_a)
            inside ^= lon < crosses
    return inside
