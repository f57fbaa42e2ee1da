"""The car profile: whether and how fast a car drives on an OpenStreetMap way, by its tags.

Speeds by class, the share of a speed limit that is driven, and the precedence of access tags are
those of OSRM's car profile (Project-OSRM/osrm-backend, profiles/car.lua). Not modelled: turn
restrictions, costs of turns and signals, conditional tags, ferries.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

PROFILE = "car-1"
"""The version of these rules; network files record it."""

_SPEEDS_KMH = {
    "motorway": 90.0,
    "motorway_link": 45.0,
    "trunk": 85.0,
    "trunk_link": 40.0,
    "primary": 65.0,
    "primary_link": 30.0,
    "secondary": 55.0,
    "secondary_link": 25.0,
    "tertiary": 40.0,
    "tertiary_link": 20.0,
    "unclassified": 25.0,
    "residential": 25.0,
    "living_street": 10.0,
    "service": 15.0,
}
# The mean share of a speed limit that is driven.
_OF_THE_LIMIT = 0.8
_LEAST_LIMIT_KMH, _MOST_LIMIT_KMH = 3.0, 160.0
_KMH_PER_MPH = 1.609344
# The more specific tag takes precedence.
_ACCESS_TAGS = ("motorcar", "motor_vehicle", "vehicle", "access")
_CLOSED = frozenset(
    ("no", "private", "agricultural", "forestry", "emergency", "psv", "bus", "military")
)
_LIMIT = re.compile(r"(\d+(?:\.\d+)?)\s*(km/h|kmh|mph)?")


class Drive(NamedTuple):
    """The speeds along a way's points and against them in km/h; 0: closed."""

    forward_kmh: float
    backward_kmh: float


def car(tags: Mapping[str, str]) -> Drive | None:
    """Return how a car drives on a way with these tags; None if it may not or cannot."""
    usual_kmh = _SPEEDS_KMH.get(tags.get("highway", ""))
    if usual_kmh is None or tags.get("area") == "yes" or _is_closed(tags):
        return None
    oneway = _oneway(tags)
    if oneway is None:
        return None
    forward_kmh = _speed_kmh(tags, "forward", usual_kmh) if oneway >= 0 else 0.0
    backward_kmh = _speed_kmh(tags, "backward", usual_kmh) if oneway <= 0 else 0.0
    return Drive(forward_kmh, backward_kmh)


def _is_closed(tags: Mapping[str, str]) -> bool:
    for name in _ACCESS_TAGS:
        if name in tags:
            return all(value.strip() in _CLOSED for value in tags[name].split(";"))
    return False


def _oneway(tags: Mapping[str, str]) -> int | None:
    """Return 1 for along its points only, -1 for against them, 0 for both; None: reversible."""
    value = tags.get("oneway:motor_vehicle", tags.get("oneway", ""))
    if value in {"yes", "true", "1"}:
        return 1
    if value in {"-1", "reverse"}:
        return -1
    if value in {"reversible", "alternating"}:
        return None
    if value in {"no", "false", "0"}:
        return 0
    is_implied = tags.get("junction") in {"roundabout", "circular"} or tags["highway"] == "motorway"
    return 1 if is_implied else 0


def _speed_kmh(tags: Mapping[str, str], direction: str, usual_kmh: float) -> float:
    for name in (f"maxspeed:{direction}", "maxspeed"):
        found = _LIMIT.fullmatch(tags.get(name, "").strip())
        if found:
            limit_kmh = float(found[1]) * (_KMH_PER_MPH if found[2] == "mph" else 1.0)
            if _LEAST_LIMIT_KMH <= limit_kmh <= _MOST_LIMIT_KMH:
                return limit_kmh * _OF_THE_LIMIT
    return usual_kmh
