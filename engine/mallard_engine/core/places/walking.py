"""How far it is on foot inside a mall, as far as a places file tells it.

The file gives each store's floor, its gate and the walk from there. The rest is reckoned: a gate's
stores lie along one corridor that leads to the middle of the mall, where the corridors meet, and to
another floor it takes a while. So the walk to one's own gate is the file's to the second; between
two stores it is an estimate that respects the triangle inequality.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot
from typing import Protocol

from mallard_engine.core.places.geo import LocalPlane

FLOOR_S = 30.0
"""An escalator and the way to it."""
NEXT_DOOR_S = 15.0
"""From one counter to the next, however near."""

# Corridors bend, and shoppers stroll: the way over the straight line; metres a second.
_BENDS = 1.3
_PACE_MPS = 1.3


class GatePlace(Protocol):
    """Where a gate is, in degrees."""

    @property
    def lat(self) -> float:
        """North."""
        ...

    @property
    def lon(self) -> float:
        """East."""
        ...


class StorePlace(Protocol):
    """Where a store is: behind a gate, on a floor, a walk away."""

    @property
    def gate(self) -> str:
        """Its gate's id."""
        ...

    @property
    def floor(self) -> int:
        """1 is the ground floor."""
        ...

    @property
    def walk_s(self) -> int:
        """Seconds from its gate."""
        ...


@dataclass(frozen=True, slots=True)
class _Spot:
    """A store: along its gate's corridor, from the middle, and above the ground; all in seconds."""

    gate: str
    along_s: float
    from_middle_s: float
    up_s: float


class Walks:
    """Seconds on foot between the gates and stores of one mall."""

    __slots__ = ("_corridor_s", "_spots")

    def __init__(
        self, plane: LocalPlane, gates: Mapping[str, GatePlace], stores: Mapping[str, StorePlace]
    ) -> None:
        self._corridor_s = {
            name: hypot(*plane.xy(gate.lat, gate.lon)) * _BENDS / _PACE_MPS
            for name, gate in gates.items()
        }
        self._spots = {name: self._spot(store) for name, store in stores.items()}

    def _spot(self, store: StorePlace) -> _Spot:
        up_s = min(FLOOR_S * (store.floor - 1), float(store.walk_s))
        along_s = store.walk_s - up_s
        return _Spot(store.gate, along_s, abs(self._corridor_s[store.gate] - along_s), up_s)

    def from_gate_s(self, gate: str, store: str) -> float:
        """From a gate to a store's counter, and back. :raises KeyError:"""
        spot = self._spots[store]
        if spot.gate == gate:
            return spot.along_s + spot.up_s
        return self._corridor_s[gate] + spot.from_middle_s + spot.up_s

    def between_s(self, one: str, other: str) -> float:
        """From counter to counter. :raises KeyError:"""
        if one == other:
            return 0.0
        a, b = self._spots[one], self._spots[other]
        if a.gate == b.gate:
            level_s = abs(a.along_s - b.along_s)
        else:
            level_s = a.from_middle_s + b.from_middle_s
        return NEXT_DOOR_S + level_s + abs(a.up_s - b.up_s)
