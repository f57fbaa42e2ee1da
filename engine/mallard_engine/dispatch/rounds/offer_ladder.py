"""How many drivers each round of a job is offered to."""

from collections.abc import Callable, Sequence

from mallard_engine.core.matching.offer_rungs import rung_at, staggered_rungs
from mallard_engine.core.matching.ranking import OFFER_DEPTH
from mallard_engine.core.matching.search_policy import Search, wide_for
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import MoreOffers


class OfferLadder:
    """The offer ladder of a market, by the attempt of a job.

    Args:
        rungs: the market's `offer_rungs`.
        new_offer_id: makes the id of an offer.
    """

    def __init__(self, rungs: Sequence[str], new_offer_id: Callable[[], str]) -> None:
        # None: each round offers a job to one driver.
        self._rungs = staggered_rungs(rungs)
        self._new_offer_id = new_offer_id

    def wide(self, search: Search, policy: MarketPolicy) -> Search:
        """Return a search that finds enough drivers for each rung."""
        return search if self._rungs is None else wide_for(search, self._rungs, policy)

    def depth(self, attempt: int) -> int:
        """Return how many drivers a round ranks and may offer a job to."""
        if self._rungs is None:
            return OFFER_DEPTH
        return max(OFFER_DEPTH, rung_at(self._rungs, attempt).drivers)

    def more(self, attempt: int, drivers: int) -> MoreOffers | None:
        """Return the further offers of a round after the first; None if it makes no others.

        Args:
            attempt: the job's.
            drivers: how many drivers the round has found.
        """
        if self._rungs is None:
            return None
        rung = rung_at(self._rungs, attempt)
        most = min(rung.drivers, drivers)
        if most == 1:
            return None
        ids = tuple([self._new_offer_id() for _ in range(most - 1)])
        return MoreOffers(most, rung.gap_ms, ids)
