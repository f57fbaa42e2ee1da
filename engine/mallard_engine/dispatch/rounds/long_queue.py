"""The rest of a long queue: what a mall's round does not read for itself.

A round reads the first jobs of each service and those that have just come or fallen due. When a
driver has become free and none of these is for it, the others are looked through piece by piece;
the store leaves out what no vehicle here can take. A round ranks a bounded number of them, and the
next one goes on from there (ADR 0043).
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from mallard_engine.ports import Found, Offers

# So many jobs are ranked in one round; then the other malls and the sockets have their turn.
_RANKED_A_ROUND = 512
# So many kinds of vehicle are told apart.
_MOST_VEHICLES = 64

# Serves the jobs of a look; how many were served.
Serve = Callable[[Found], Awaitable[int]]


class LongQueue:
    """Goes once through a mall's queue for each time that drivers became free."""

    def __init__(self, offers: Offers, market: str, mall: str) -> None:
        self._offers = offers
        self._market = market
        self._mall = mall
        # What is still to be looked at, as bounds of names in the wait set.
        self._pieces: deque[tuple[str, str]] = deque()
        # How many passes have begun. A driver may become free while a round is under way that has
        # looked for drivers before: that round must leave the new pass to the next one.
        self.begun = 0

    @property
    def is_done(self) -> bool:
        """Whether all has been looked at."""
        return not self._pieces

    def begin(self, after: str) -> None:
        """Look through all of it: the services behind this one first, so that they take turns."""
        self.begun += 1
        self._pieces.clear()
        if after:
            self._pieces.append((f"({after}0", "+"))
            self._pieces.append(("-", f"({after}0"))
        else:
            self._pieces.append(("-", "+"))

    def end(self) -> None:
        """There is nothing left to look for."""
        self._pieces.clear()

    async def serve(self, found: Found, known: Collection[str], serve: Serve) -> int:
        """Look on until a job is served, or enough have been ranked in vain; how many were served.

        ``known``: jobs that this round has ranked already.
        """
        near = (*found.near, *found.coming)
        vehicles = list(dict.fromkeys(it.driver.vehicle for it in near))[:_MOST_VEHICLES]
        ranked = 0
        begun = self.begun
        while self._pieces and ranked < _RANKED_A_ROUND:
            low, high = self._pieces[0]
            piece = await self._offers.waiting_that_fit(
                self._market, self._mall, vehicles, low, high
            )
            if self.begun != begun:
                return 0
            jobs = [job for job in piece.jobs if job.job not in known]
            if jobs:
                ranked += len(jobs)
                # Where one was served, others of this piece may be for other drivers: again.
                if served := await serve(replace(found, waiting=tuple(jobs))):
                    return served
                if self.begun != begun:
                    return 0
            if piece.low is None:
                self._pieces.popleft()
            else:
                self._pieces[0] = piece.low, high
        return 0
