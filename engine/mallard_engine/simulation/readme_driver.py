"""A driver whose app is the program in README.md: it does what that does, and no more.

It states no vehicle, and reports each order as collected as a whole. It takes every offer that
comes on the way to the mall. It reports and delivers its orders by the times from pickup to
drop-off that their offers named, as a socket brings no later ones. The pickup that an offer names
lies later when an order has been added: drop-off times of two offers cannot be compared.
"""

from mallard_engine.core.model import Job
from mallard_engine.simulation.shift_driver import ShiftDriver
from mallard_protocol.lifecycle import Step


def _way_ms(job: Job) -> int:
    return (job.eta_dropoff_ms or 0) - (job.eta_pickup_ms or 0)


class ReadmeDriver(ShiftDriver):
    """See the module."""

    async def _go(
        self, lat: float, lon: float, run: list[Job], accepted_ms: dict[str, int]
    ) -> float:
        way_m = await super()._go(lat, lon, run, accepted_ms)
        run.sort(key=_way_ms)
        return way_m

    async def _pick_up(self, job: Job) -> None:
        await self._report(job, Step.PICKED_UP)

    async def _in_order(self, run: list[Job]) -> list[Job]:
        return run
