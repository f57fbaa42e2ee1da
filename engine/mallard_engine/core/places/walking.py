"""Walking times inside a mall, estimated from its places file.

The file gives each store's floor, gate and the walk from that gate. The model for the rest: a
gate's stores lie along one corridor to the middle of the mall, where the corridors meet; another
floor adds a constant. So the walk between a store and its own gate is exact, and the walk between
two stores is an estimate that respects the triangle inequality.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot
from typing import Protocol

from mallard_engine.core.places.geo import LocalPlane

FLOOR_S = 30.0
"""One floor up or down: an escalator and the walk to it."""
NEXT_DOOR_S = 15.0
"""The least time from one counter to another."""

# Walking distance divided by the straight line, as corridors bend; walking speed.
_DETOUR = 1.3
_WALK_MPS = 1.3


class GatePlace(Protocol):
    """The position of a gate in degrees."""

    @property
    def lat(self) -> float:
        """Latitude."""
        ...

    @property
    def lon(self) -> float:
        """Longitude."""
        ...


class StorePlace(Protocol):
    """The position of a store: its gate, floor and walk from the gate."""

    @property
    def gate(self) -> str:
        """The id of its gate."""
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
    """A store's position in seconds of walking.

    `along_s`: along the corridor from its gate; `from_middle_s`: from the middle of the mall;
    `up_s`: from the ground floor.
    """

    gate: str
    along_s: float
    from_middle_s: float
    up_s: float


class Walks:
    """Walking times in seconds between the gates and stores of one mall.

    Methods raise `KeyError` for a gate or store that the mall does not have.
    """

    __slots__ = ("_corridor_s", "_spots")

    def __init__(
        self, plane: LocalPlane, gates: Mapping[str, GatePlace], stores: Mapping[str, StorePlace]
    ) -> None:
        self._corridor_s = {
            name: hypot(*plane.xy(gate.lat, gate.lon)) * _DETOUR / _WALK_MPS
            for name, gate in gates.items()
        }
        self._spots = {name: self._spot(store) for name, store in stores.items()}

    def _spot(self, store: StorePlace) -> _Spot:
        up_s = min(FLOOR_S * (store.floor - 1), float(store.walk_s))
        along_s = store.walk_s - up_s
        return _Spot(store.gate, along_s, abs(self._corridor_s[store.gate] - along_s), up_s)

    def from_gate_s(self, gate: str, store: str) -> float:
        """Return the walk from a gate to a store's counter, the same in both directions."""
        spot = self._spots[store]
        if spot.gate == gate:
            return spot.along_s + spot.up_s
        return self._corridor_s[gate] + spot.from_middle_s + spot.up_s

    def between_s(self, one: str, other: str) -> float:
        """Return the walk from counter to counter."""
        if one == other:
            return 0.0
        a, b = self._spots[one], self._spots[other]
        if a.gate == b.gate:
            level_s = abs(a.along_s - b.along_s)
        else:
            level_s = a.from_middle_s + b.from_middle_s
        return NEXT_DOOR_S + level_s + abs(a.up_s - b.up_s)
