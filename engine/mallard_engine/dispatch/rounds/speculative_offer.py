"""Speculative search for the drivers of an order that is not stored yet.

The mall of an order is known as soon as its body is parsed. The search starts at once, and the
storage answers while the order is being checked. The drivers are ranked before the job is stored,
and submission and offer are sent together: one round trip less before the offer. If jobs wait at
the mall, or a round is running there, the job queues. See ADR 0013.

In a market with runs, a driver on the way may get the job, as in a round (ADR 0216). An express job
does not queue behind others: held jobs may wait for hours, and their plans take longer than its
offer.
"""

import asyncio

import structlog

from mallard_engine.core.model import Submission, Waiting
from mallard_engine.dispatch.rounds.mall_rounds import MallRounds
from mallard_engine.ports import Found, OfferPlan, StoreUnavailable

_log = structlog.get_logger(__name__)


class SpeculativeOffer:
    """One speculative search. It pauses the rounds of the mall until it is closed.

    ``rounds``: the rounds of the mall. If they are None, or a round is running, there is no search.
    ``overtakes``: whether jobs that wait, and a round that is running, do not matter.
    """

    def __init__(self, rounds: MallRounds | None, *, overtakes: bool = False) -> None:
        self._overtakes = overtakes
        self._pauses = rounds is not None and rounds.pause()
        # While a round runs, earlier jobs are being served: this job must not overtake them.
        self._rounds = rounds if self._pauses or overtakes else None
        self._search: asyncio.Task[Found] | None = None
        self._match: tuple[MallRounds, OfferPlan, str] | None = None
        if self._rounds is not None:
            self._search = asyncio.create_task(
                self._rounds.search_drivers(), name="speculative search"
            )

    async def finds(self, submission: Submission) -> bool:
        """Return whether a driver can be offered the job, and no other job waits before it."""
        if self._rounds is None or self._search is None:
            return False
        try:
            found = await self._search
            held_until_ms = submission.need.held_until_ms(submission.mall, found.holds)
            is_next = self._overtakes or not found.waiting_total
            if found.near and is_next and held_until_ms <= found.now_ms:
                job = Waiting(
                    submission.job,
                    0,
                    submission.need,
                    (),
                    submission.card,
                )
                if (plan := await self._rounds.plan_first(found, job)) is not None:
                    self._match = self._rounds, plan, job.service
        except StoreUnavailable:
            return False
        except Exception:  # noqa: BLE001  bad data must not lose the job: a round handles it
            _log.exception("job failed in its speculative search", job=submission.job)
        return self._match is not None

    async def offer(self) -> bool:
        """Offer the job, right after its submission; return whether a driver got the offer.

        Rounds may resume once the offer is sent: they are executed after it.
        """
        if self._match is None:
            return False
        rounds, plan, service = self._match
        try:
            return await rounds.make(plan, service)
        except StoreUnavailable:
            return False  # the due entry remains: a round follows

    def close(self) -> None:
        """Resume the rounds. May be called again."""
        if self._search is not None and not self._search.cancel() and not self._search.cancelled():
            self._search.exception()  # retrieved, so that it is not logged: the order was refused
        if self._rounds is not None:
            rounds, self._rounds = self._rounds, None
            if self._pauses:
                rounds.resume()
