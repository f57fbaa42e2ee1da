"""The rest of a long queue: the jobs that a round does not read by itself.

A round reads the first jobs of each service, and the new and due ones. If a driver has become free
and suits none of these, the others are read piece by piece; the storage leaves out the jobs that no
vehicle here can take. A round ranks a bounded number of them, and the next round continues there
(ADR 0043).
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from mallard_engine.ports import Found, Offers

# Jobs that one round ranks.
_RANKED_A_ROUND = 512
# The most kinds of vehicles that are distinguished.
_MOST_VEHICLES = 64

# Serves the jobs that were found; returns how many were served.
Serve = Callable[[Found], Awaitable[int]]


class LongQueue:
    """Reads through a mall's queue once after drivers have become free."""

    def __init__(self, offers: Offers, market: str, mall: str) -> None:
        self._offers = offers
        self._market = market
        self._mall = mall
        # What is still to be read, as bounds of names in the wait set.
        self._pieces: deque[tuple[str, str]] = deque()
        # The number of passes so far. If a driver becomes free after a round has searched, that
        # round must leave the new pass to the next one.
        self.begun = 0

    @property
    def is_done(self) -> bool:
        """Whether the whole queue has been read."""
        return not self._pieces

    def begin(self, after: str) -> None:
        """Start a pass, with the services after this one first, so that services take turns."""
        self.begun += 1
        self._pieces.clear()
        if after:
            self._pieces.append((f"({after}0", "+"))
            self._pieces.append(("-", f"({after}0"))
        else:
            self._pieces.append(("-", "+"))

    def end(self) -> None:
        """End the pass."""
        self._pieces.clear()

    async def serve(self, found: Found, known: Collection[str], serve: Serve) -> int:
        """Continue the pass until a job is served or enough jobs have been ranked.

        Args:
            found: The drivers of the round.
            known: The jobs that this round has ranked already.
            serve: Serves jobs and returns how many were served.

        Returns:
            How many jobs were served.
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
                # If one is served, read this piece again: its other jobs may suit other drivers.
                if served := await serve(replace(found, waiting=tuple(jobs))):
                    return served
                if self.begun != begun:
                    return 0
            if piece.low is None:
                self._pieces.popleft()
            else:
                self._pieces[0] = piece.low, high
        return 0
