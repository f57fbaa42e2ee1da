"""The look at a mall's drivers that goes ahead of an order.

An order's mall is known as soon as its body is parsed. The search for drivers leaves at once, and
the store answers while the order is still being checked. Its drivers are then ranked before the
store has heard of the job, and submission and offer leave together: one round trip less lies before
the offer. Where others wait at the mall, or a round is under way, the job queues behind them as
ever.
"""

import asyncio

import structlog

from mallard_engine.core.matching.ranking import Ranking, offerable
from mallard_engine.core.model import Submission, Waiting
from mallard_engine.dispatch.rounds.mall_rounds import MallRounds
from mallard_engine.ports import Found, StoreUnavailable

_log = structlog.get_logger(__name__)


class SpeculativeOffer:
    """One look ahead. It holds the mall's rounds back until it is closed, which must happen.

    ``rounds``: the mall's; None, or a round under way there: nobody looks, and nothing is held.
    """

    def __init__(self, rounds: MallRounds | None) -> None:
        # A job that has come before must not be overtaken.
        self._held = rounds if rounds is not None and rounds.pause() else None
        self._look: asyncio.Task[Found] | None = None
        self._turn: tuple[MallRounds, Found, Waiting, Ranking] | None = None
        if self._held is not None:
            self._look = asyncio.create_task(self._held.first_look(), name="early look")

    async def finds(self, submission: Submission) -> bool:
        """Whether somebody is there to be offered the job, and nobody waits before it."""
        if self._held is None or self._look is None:
            return False
        try:
            found = await self._look
            held_until_ms = submission.need.held_until_ms(submission.mall, found.holds)
            if found.near and not found.waiting_total and held_until_ms <= found.now_ms:
                job = Waiting(
                    submission.job,
                    0,
                    submission.need,
                    (),
                    submission.card,
                )
                travel = None
                if self._held.asks_ahead:
                    travel = await self._held.travel_ahead(found, job.need)
                ranking = self._held.rank(found, job, travel)
                if offerable(ranking):
                    self._turn = self._held, found, job, ranking
        except StoreUnavailable:
            return False
        except Exception:  # noqa: BLE001  whatever its data does, the job is kept: a round goes on
            _log.exception("job broke its early look", job=submission.job)
        return self._turn is not None

    async def offer(self) -> bool:
        """Offer the job, right behind its submission; whether somebody has got the offer.

        Once that has left, rounds may go on: they see what it did, as it came before them.
        """
        if self._turn is None:
            return False
        rounds, found, job, ranking = self._turn
        try:
            return await rounds.offer(found, job, ranking)
        except StoreUnavailable:
            return False  # its due entry stays: a round follows

    def close(self) -> None:
        """Let the rounds go on; again too."""
        if self._look is not None and not self._look.cancel() and not self._look.cancelled():
            self._look.exception()  # an order that was refused meanwhile has no use for it
        if self._held is not None:
            rounds, self._held = self._held, None
            rounds.resume()
