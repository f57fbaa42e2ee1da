"""A driver whose app is the program in README.md: it does what that does, and no more.

It states neither a vehicle nor when its block ends, and reports each order as collected as a whole,
in the order of the offer. While it carries out one offer it answers no other: the client
acknowledges an order that is added on the way, and its offer lapses.
"""

import contextlib

from mallard_engine.core.model import Job, LiveOffer
from mallard_engine.ports import Refused
from mallard_engine.simulation.shift_driver import ShiftDriver
from mallard_protocol.lifecycle import Step, Wish


class ReadmeDriver(ShiftDriver):
    """See the module."""

    _is_busy = False

    async def _become_available(self) -> None:
        await self._dispatcher.drivers.status(
            self._scenario.market, self.shift.driver, Wish.AVAILABLE, None
        )

    async def _consider(self, offer: LiveOffer) -> tuple[Job, ...]:
        if not self._is_busy:
            return await super()._consider(offer)
        with contextlib.suppress(Refused):
            await self._dispatcher.drivers.offer_ack(
                self._scenario.market, self.shift.driver, offer.offer
            )
        return ()

    async def _carry_out(self, run: list[Job]) -> None:
        self._is_busy = True
        await super()._carry_out(run)
        self._is_busy = False

    async def _pick_up(self, job: Job) -> None:
        await self._report(job, Step.PICKED_UP)
