"""Figures and a ledger of what a fleet of simulated drivers has done."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Shared by the drivers of a fleet.

    `counts`: ``offers``, ``accepted``, ``declined``, ``lapsed``, ``vanished``, ``too_late``,
    ``refused``, ``unanswered``, ``dropped``, ``delivered``, ``taken_away``, ``stopped``. `push_ms`:
    from the server's stamp on an offer to its arrival. `first_offer_s`: when the first offer of a
    job came, by `time.monotonic`. `collected_by`, `delivered_by`: the drivers whose reports of a
    job the engine accepted. `welcomes`: when, by the server's clock, and at which engine each
    driver was welcomed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    push_ms: list[int] = field(default_factory=list)
    first_offer_s: dict[str, float] = field(default_factory=dict)
    collected_by: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    delivered_by: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    welcomes: defaultdict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @property
    def doubled(self) -> dict[str, list[str]]:
        """Jobs that were delivered more than once, with their deliverers."""
        return {job: drivers for job, drivers in self.delivered_by.items() if len(drivers) > 1}


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the percentile by nearest rank; None if there are no values."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
