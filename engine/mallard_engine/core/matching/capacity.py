"""Vehicle capacity: jobs, weight, volume and equipment."""

from collections.abc import Iterable
from typing import NamedTuple

from mallard_engine.core.model import Need, Vehicle
from mallard_protocol.codes import ID_CHECK

_NONE: frozenset[str] = frozenset()


class Load(NamedTuple):
    """The sum of several jobs: number, grams, litres, and required equipment."""

    jobs: int = 0
    weight_g: int = 0
    volume_l: float = 0.0
    equipment: frozenset[str] = frozenset()

    def plus(self, need: Need) -> "Load":
        """Return the load with one more job."""
        return Load(
            self.jobs + 1,
            self.weight_g + need.weight_g,
            self.volume_l + need.volume_l,
            self.equipment | equipment_of(need),
        )


def load_of(needs: Iterable[Need]) -> Load:
    """Return the load of these jobs."""
    load = Load()
    for need in needs:
        load = load.plus(need)
    return load


def equipment_of(need: Need) -> frozenset[str]:
    """Return the equipment that a job requires; an age check at the door requires none."""
    return frozenset(need.requires) - {ID_CHECK} if need.requires else _NONE


def misfit(vehicle: Vehicle, load: Load, max_jobs: int = 1) -> str | None:
    """Return why the load does not fit into the vehicle (a `why_not`); None if it does.

    `max_jobs` is the market's limit of jobs a driver, besides the vehicle's own.
    """
    if load.jobs > min(max(vehicle.max_jobs, 1), max_jobs):
        return "too_many_jobs"
    if load.weight_g > vehicle.max_weight_g:
        return "too_heavy"
    if load.volume_l > vehicle.max_volume_l:
        return "too_big"
    if not load.equipment.issubset(vehicle.equipment):
        return "lacks_equipment"
    return None
