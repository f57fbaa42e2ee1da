"""What a job needs, and what a vehicle has room for."""

from collections.abc import Mapping
from dataclasses import dataclass

from mallard_protocol.codes import ID_CHECK, ServiceLevel

# A demand is part of a key in Redis.
_LONGEST_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Vehicle:
    """The capacity of a driver's vehicle.

    The defaults are those of a record without a vehicle, which only earlier versions wrote. What a
    vehicle that states nothing has room for is in `core.vehicles`.
    """

    kind: str = "car"
    max_jobs: int = 1
    max_weight_g: int = 100_000
    max_volume_l: float = 300
    equipment: tuple[str, ...] = ()

    def fits(self, need: "Need") -> bool:
        """Return whether the empty vehicle could take the job."""
        return (
            need.jobs <= self.max_jobs
            and need.weight_g <= self.max_weight_g
            and need.volume_l <= self.max_volume_l
            and all(item in self.equipment or item == ID_CHECK for item in need.requires)
        )


@dataclass(frozen=True, slots=True)
class Need:
    """What a round must know about a queued job."""

    stores: tuple[str, ...]
    ready_ms: int
    deadline_ms: int
    expires_ms: int
    lat: float
    lon: float
    parcels: int
    weight_g: int
    volume_l: float
    requires: tuple[str, ...]
    priority: int
    created_ms: int
    # The driver's pay in minor units; 0: unknown. It may rise to `pay_max_minor`; 0: it does not.
    pay_minor: int = 0
    pay_max_minor: int = 0
    # When each of several stores is ready, in their order; empty: all at `ready_ms`.
    store_ready_ms: tuple[int, ...] = ()
    # The order service; empty for jobs stored under schema 1.
    service: str = ""
    # None for jobs stored before there were levels: the market's preset applies.
    service_level: ServiceLevel | None = None
    # The number of jobs that a transfer carries.
    jobs: int = 1
    # The stores at which nothing is left to collect; lib/shops.lua keeps them.
    done: tuple[str, ...] = ()

    @property
    def visits(self) -> tuple[str, ...]:
        """The stores that a driver must visit; all of them if nothing is left to collect."""
        if not self.done:
            return self.stores
        return tuple(store for store in self.stores if store not in self.done) or self.stores

    @property
    def visits_ready_ms(self) -> tuple[int, ...]:
        """When each store of `visits` is ready."""
        each_ms = self.store_ready_ms or (self.ready_ms,) * len(self.stores)
        if not self.done:
            return each_ms
        visits = self.visits
        pairs = zip(self.stores, each_ms, strict=True)
        return tuple(at_ms for store, at_ms in pairs if store in visits)

    @property
    def demand(self) -> str:
        """What it requires of a vehicle (weight, volume, equipment) as text; empty if too long."""
        items = ",".join(sorted(item for item in self.requires if item != ID_CHECK))
        return f"{self.weight_g} {self.volume_l!r} {items}" if len(items) <= _LONGEST_ITEMS else ""

    def held_until_ms(self, mall: str, holds: Mapping[str, int]) -> int:
        """Return until when a store to visit is held (`holds`: by mall/store); 0: none is."""
        return max((holds.get(f"{mall}/{store}", 0) for store in self.visits), default=0)
