"""Statistics and the ledger of a fleet of simulated drivers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class FleetTally:
    """What the drivers of a fleet have done; they share one instance.

    Attributes:
        counts: ``offers``, ``accepted``, ``declined``, ``lapsed``, ``vanished``, ``too_late``,
            ``refused``, ``unanswered``, ``dropped``, ``delivered``, ``taken_away``, ``stopped``,
            ``broken_down``, ``taken_over``.
        driven_m: Metres to malls and doors, over straight roads.
        runs: How many visits to a mall ended with a parcel on board.
        push_ms: From the server's time in each offer to its arrival.
        first_offer_s: When the first offer of each job arrived, by `time.monotonic`.
        collected_by: The drivers whose pickup of each job the engine accepted.
        delivered_by: The drivers whose delivery of each job the engine accepted.
        handed_on: How often each job went from one driver to another.
        codes: By transfer, what its first driver shows to the one who meets it: they are in one
            place, so simulated drivers read it here.
        welcomes: When (server's epoch ms) and at which node each driver was welcomed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    driven_m: float = 0.0
    runs: int = 0
    push_ms: list[int] = field(default_factory=list)
    first_offer_s: dict[str, float] = field(default_factory=dict)
    collected_by: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    delivered_by: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    handed_on: Counter[str] = field(default_factory=Counter)
    codes: dict[str, str] = field(default_factory=dict)
    welcomes: defaultdict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def trim(self, most: int) -> None:
        """Forget all but the last ``most`` entries of each kind, for a fleet that never stops."""
        del self.push_ms[:-most]
        for records in (
            self.first_offer_s,
            self.collected_by,
            self.delivered_by,
            self.handed_on,
            self.codes,
        ):
            for key in list(records)[:-most]:
                del records[key]
        for welcomes in self.welcomes.values():
            del welcomes[:-most]

    @property
    def km_an_order(self) -> float | None:
        """Kilometres driven for each delivered order; None without one."""
        delivered = self.counts["delivered"]
        return self.driven_m / 1000 / delivered if delivered else None

    @property
    def orders_a_run(self) -> float | None:
        """Orders collected in a visit to a mall; None without one."""
        return len(self.collected_by) / self.runs if self.runs else None

    @property
    def doubled(self) -> dict[str, list[str]]:
        """The jobs that were delivered more than once, with their drivers."""
        return {job: drivers for job, drivers in self.delivered_by.items() if len(drivers) > 1}


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return a percentile by nearest rank, `share` from 0 to 1; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
