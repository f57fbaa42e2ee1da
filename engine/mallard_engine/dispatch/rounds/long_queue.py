"""The rest of a long queue: the jobs that a round does not read by itself.

A round reads the first jobs of each service, and the new and due ones. If a driver has become free
and suits none of these, the others are read piece by piece; the storage leaves out the jobs that no
vehicle here can take. A round ranks a bounded number of them, and the next round continues there
(ADR 0043).

A driver who becomes free meanwhile needs the whole queue too. The pass then goes around: from where
it is to the same place again. If it started over, it would never reach the end while drivers become
free faster than it reads.
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
    """Reads through a mall's queue after drivers have become free, once for each of them."""

    def __init__(self, offers: Offers, market: str, mall: str) -> None:
        self._offers = offers
        self._market = market
        self._mall = mall
        # What is still to be read, as bounds of names in the wait set.
        self._pieces: deque[tuple[str, str]] = deque()
        # The value of `begun` that the pass covers: the drivers who had become free by then.
        self._covered = 0
        # The service after which a new pass begins.
        self._after = ""
        self.begun = 0
        """How often drivers have become free so far."""

    @property
    def is_done(self) -> bool:
        """Whether the whole queue has been read for all drivers."""
        return not self._pieces and self._covered == self.begun

    def begin(self, after: str) -> None:
        """Read the whole queue for a driver who has become free.

        A new pass begins with the services after this one, so that services take turns.
        """
        self.begun += 1
        self._after = after

    def end(self) -> None:
        """End the pass."""
        self._pieces.clear()
        self._covered = self.begun

    async def serve(self, found: Found, known: Collection[str], serve: Serve, begun: int) -> int:
        """Continue the pass until a job is served or enough jobs have been ranked.

        Args:
            found: The drivers of the round.
            known: The jobs that this round has ranked already.
            serve: Serves jobs and returns how many were served.
            begun: How often drivers had become free when the round searched. It does not know those
                who became free later: the next round goes around for them.

        Returns:
            How many jobs were served.
        """
        if self._covered < begun:
            self._covered = begun
            self._go_around()
        near = (*found.near, *found.coming)
        vehicles = list(dict.fromkeys(it.driver.vehicle for it in near))[:_MOST_VEHICLES]
        ranked = 0
        while self._pieces and ranked < _RANKED_A_ROUND:
            low, high = self._pieces[0]
            piece = await self._offers.waiting_that_fit(
                self._market, self._mall, vehicles, low, high
            )
            jobs = [job for job in piece.jobs if job.job not in known]
            if jobs:
                ranked += len(jobs)
                # If one is served, read this piece again: its other jobs may suit other drivers.
                if served := await serve(replace(found, waiting=tuple(jobs))):
                    return served
            if piece.low is None:
                self._pieces.popleft()
            else:
                self._pieces[0] = piece.low, high
        return 0

    def _go_around(self) -> None:
        """Begin a pass, or let the current one end where it is now."""
        low = f"({self._after}0" if self._after else "-"
        if self._pieces:
            low, _ = self._pieces[0]
        self._pieces.clear()
        self._pieces.append((low, "+"))
        if low != "-":
            self._pieces.append(("-", f"[{low[1:]}"))
