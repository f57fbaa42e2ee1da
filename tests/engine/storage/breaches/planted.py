"""All planted breaches, each with the rule that it breaks."""

from tests.engine.storage.breaches import custody, drivers, jobs, offers, shops
from tests.engine.storage.breaches.writing import Plant

PLANTED: list[tuple[str, Plant]] = [
    *shops.PLANTED,
    *custody.PLANTED,
    *offers.PLANTED,
    *jobs.PLANTED,
    *drivers.PLANTED,
]
