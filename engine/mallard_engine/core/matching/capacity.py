"""What fits into a vehicle: jobs, weight, volume, equipment."""

from collections.abc import Iterable
from typing import NamedTuple

from mallard_engine.core.model import Need, Vehicle
from mallard_protocol.codes import ID_CHECK

_NONE: frozenset[str] = frozenset()


class Load(NamedTuple):
    """What jobs take up together: their number, grams, litres, and the equipment they ask for."""

    jobs: int = 0
    weight_g: int = 0
    volume_l: float = 0.0
    equipment: frozenset[str] = frozenset()

    def plus(self, need: Need) -> "Load":
        """The same with one more job."""
        return Load(
            self.jobs + 1,
            self.weight_g + need.weight_g,
            self.volume_l + need.volume_l,
            self.equipment | equipment_of(need),
        )


def load_of(needs: Iterable[Need]) -> Load:
    """What these jobs take up together."""
    load = Load()
    for need in needs:
        load = load.plus(need)
    return load


def equipment_of(need: Need) -> frozenset[str]:
    """The equipment that a job asks for; an age check is a duty at the door and needs none."""
    return frozenset(need.requires) - {ID_CHECK} if need.requires else _NONE


def misfit(vehicle: Vehicle, load: Load, max_jobs: int = 1) -> str | None:
    """Why the load does not fit into the vehicle, in the words of a round; None if it does.

    ``max_jobs``: how many jobs the market lets one driver carry at once, whatever its vehicle says.
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
