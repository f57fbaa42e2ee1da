"""What the archive reads from Redis: events by a consumer group, and the ended jobs that it lacks.

The group's pending entries are the events of jobs that are not in the archive yet. An archive that
starts again reads them first, so it needs no memory of its own. `unarchived` has the jobs that
ended since the archive was registered, and those of the week before: a job is not missed if its
events were trimmed. Redis keeps these jobs for `hold_ms` beyond their usual time.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.calls.events.event_log import read_event
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.packed import read_field

GROUP: Final = "mallard-archive"
# One name, so that an archive that starts again gets what the last one has not finished.
_CONSUMER: Final = "archive"
_PAGE: Final = 500
_HOUR_MS: Final = 3_600_000
# The archive is reported when it is this late, and to operators when jobs are deleted this soon.
_LATE_MS: Final = _HOUR_MS
_NEAR_MS: Final = 48 * _HOUR_MS
ALERT_AGAIN_MS: Final = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job to release. ``at_ms``: its score in `unarchived` before it was read; None: none."""

    job: str
    service: str
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class ArchiveLag:
    """How far the archive of a market is behind.

    Attributes:
        waiting: How many ended jobs it lacks.
        oldest_ms: The time of the oldest of them; None: there is none.
        hold_ms: How long Redis keeps them beyond their usual time.
        kept_ms: That usual time: how long an ended job can be read (`ended_kept_days`).
        lost: How many left Redis without being archived.
    """

    waiting: int
    oldest_ms: int | None
    hold_ms: int
    kept_ms: int
    lost: int

    def text(self, market: str, now_ms: int) -> str | None:
        """Return what an operator must know about it; None: nothing."""
        behind_ms = 0 if self.oldest_ms is None else now_ms - self.oldest_ms
        if behind_ms < _LATE_MS:
            return None
        left_h = max(0, self.kept_ms + self.hold_ms - behind_ms) // _HOUR_MS
        return (
            f"the archive of {market} is {behind_ms // _HOUR_MS} h behind: {self.waiting} ended "
            f"jobs wait for it, and Redis deletes the oldest in {left_h} h: start `mallard archive`"
        )

    def is_near(self, now_ms: int) -> bool:
        """Whether Redis soon deletes jobs that the archive lacks: an operator must be alerted."""
        if self.oldest_ms is None:
            return False
        return now_ms - self.oldest_ms > self.kept_ms + self.hold_ms - _NEAR_MS


class ArchiveQueue:
    """The queue of the archive on Redis. ``page``: entries of one read."""

    def __init__(self, runner: ScriptRunner, page: int = _PAGE) -> None:
        self._runner = runner
        self._page = page

    async def register(self, market: str, hold_ms: int) -> None:
        """Begin or continue to archive a market, and hold the jobs that have ended before.

        Raises:
            StoreUnavailable: Redis could not be read or written.
        """
        keys, call = self._runner.keys[market], self._runner.link.call
        with _refusals():
            # A full server refuses the write, and the archive must continue, to make room there.
            if await call("HGET", keys.key("archive"), "hold_ms") != str(hold_ms).encode():
                await call("HSET", keys.key("archive"), "hold_ms", hold_ms)
            if await self._is_registered(keys):
                return
            async for members in self._ended_before(keys):
                names = [keys.key("archive"), keys.key("unarchived"), keys.key("forget")]
                names += [keys.job(member.rpartition("/")[2]) for member in members]
                await self._runner.run("await_archive", names, {"members": members})
            # Last, so that a start that was cut short looks for earlier jobs again.
            await call("XGROUP", "CREATE", keys.key("events"), GROUP, "0", "MKSTREAM")

    async def remove(self, market: str) -> None:
        """Stop holding anything of a market for an archive.

        Raises:
            StoreUnavailable: Redis could not be read or written.
        """
        keys, call = self._runner.keys[market], self._runner.link.call
        with _refusals():
            await call("HDEL", keys.key("archive"), "hold_ms")
            while waiting := await self.waiting(market, _PAGE):
                await self.done(market, (), [await self._ended(market, *it) for it in waiting])
            await call("DEL", keys.key("archive"))
            if await self._is_registered(keys):
                await call("XGROUP", "DESTROY", keys.key("events"), GROUP)

    async def pending(self, market: str) -> AsyncIterator[Sequence[MarketEvent]]:
        """Yield the events that were read and not acknowledged, oldest first.

        Those that were trimmed meanwhile are acknowledged.

        Raises:
            StoreUnavailable: Redis could not be read.
        """
        key, after = self._runner.keys[market].key("events"), b"0"
        while True:
            with _refusals():
                reply = await self._runner.link.call(
                    "XREADGROUP", "GROUP", GROUP, _CONSUMER, "COUNT", _PAGE, "STREAMS", key, after
                )
            entries = reply[0][1] if reply else ()
            if not entries:
                return
            after = entries[-1][0]
            trimmed = [place for place, fields in entries if not fields]
            if trimmed:
                with _refusals():
                    await self._runner.link.call("XACK", key, GROUP, *trimmed)
            yield [read_event(market, *entry) for entry in entries if entry[1]]

    async def read(self, market: str) -> tuple[Sequence[MarketEvent], bool]:
        """Return new events, in order, and whether more may wait.

        A call for each market: their streams are in other slots.

        Raises:
            StoreUnavailable: Redis could not be read, or it has lost the group.
        """
        key = self._runner.keys[market].key("events")
        with _refusals():
            reply = await self._runner.link.call(
                "XREADGROUP", "GROUP", GROUP, _CONSUMER, "COUNT", self._page, "STREAMS", key, ">"
            )
        entries = reply[0][1] if reply else ()
        events = [read_event(market, *entry) for entry in entries if entry[1]]
        return events, len(entries) >= self._page

    async def waiting(self, market: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return ended jobs that are not archived and when they last changed, oldest first.

        Raises:
            StoreUnavailable: Redis could not be read.
        """
        key = self._runner.keys[market].key("unarchived")
        with _refusals():
            flat = await self._runner.link.call("ZRANGE", key, 0, limit - 1, "WITHSCORES")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(job.decode(), int(float(at))) for job, at in pairs]

    async def changed_at(self, market: str, jobs: Sequence[str]) -> Mapping[str, int]:
        """Return the times of the last changes of those jobs that `unarchived` has.

        Raises:
            StoreUnavailable: Redis could not be read.
        """
        key = self._runner.keys[market].key("unarchived")
        with _refusals():
            scores = await self._runner.link.call("ZMSCORE", key, *jobs) if jobs else ()
        pairs = zip(jobs, scores, strict=True)
        return {job: int(float(at)) for job, at in pairs if at is not None}

    async def done(self, market: str, places: Sequence[Place], jobs: Sequence[EndedJob]) -> None:
        """Acknowledge events, and release jobs that have not changed since they were read.

        Raises:
            StoreUnavailable: Redis could not be written.
        """
        keys = self._runner.keys[market]
        if not jobs:
            if places:
                with _refusals():
                    await self._runner.link.call(
                        "XACK", keys.key("events"), GROUP, *map(str, places)
                    )
            return
        names = [keys.key("events"), keys.key("unarchived"), keys.key("forget")]
        known = [{"job": it.job, "service": it.service, "at": it.at_ms} for it in jobs]
        args = {"group": GROUP, "places": list(map(str, places)), "jobs": known}
        with _refusals():
            await self._runner.run("archived", names + [keys.job(it.job) for it in jobs], args)

    async def lag(self, market: str) -> ArchiveLag | None:
        """Return how far the archive is behind; None: the market has none.

        Raises:
            StoreUnavailable: Redis could not be read.
        """
        with _refusals():
            return await read_lag(
                self._runner.link, self._runner.keys[market], self._runner.ended_kept_ms[market]
            )

    async def alert(self, market: str, lag: ArchiveLag) -> None:
        """Tell operators, once a day, that jobs are about to leave without being archived.

        Raises:
            StoreUnavailable: Redis could not be written.
        """
        args = {"again_ms": ALERT_AGAIN_MS, "waiting": lag.waiting, "since_ms": lag.oldest_ms}
        with _refusals():
            await self._runner.transition(
                "archive_behind", self._runner.keys[market], (), args, when_full=True
            )

    async def _ended(self, market: str, job: str, at_ms: int) -> EndedJob:
        key = self._runner.keys[market].job(job)
        return EndedJob(job, await read_field(self._runner.link, key, "service"), at_ms)

    async def _is_registered(self, keys: MarketKeys) -> bool:
        call = self._runner.link.call
        if not await call("EXISTS", keys.key("events")):
            return False
        groups = await call("XINFO", "GROUPS", keys.key("events"))
        return any(GROUP.encode() in group for group in groups)

    async def _ended_before(self, keys: MarketKeys) -> AsyncIterator[Sequence[str]]:
        """Yield the entries of `forget` for ended jobs; some may come twice."""
        cursor: bytes = b"0"
        while True:
            cursor, flat = await self._runner.link.call(
                "ZSCAN", keys.key("forget"), cursor, "MATCH", "job/*", "COUNT", _PAGE
            )
            if flat:
                yield [member.decode() for member in flat[::2]]
            if cursor == b"0":
                return


async def read_lag(link: StoreLink, keys: MarketKeys, kept_ms: int) -> ArchiveLag | None:
    """Return how far the archive of a market is behind; None: it has none.

    ``kept_ms``: see `ArchiveLag`.
    """
    archive = keys.key("archive")
    hold_ms, lost = await link.call("HMGET", archive, "hold_ms", "lost")
    if hold_ms is None:
        return None
    waiting = await link.call("ZCARD", keys.key("unarchived"))
    oldest: Any = await link.call("ZRANGE", keys.key("unarchived"), 0, 0, "WITHSCORES")
    oldest_ms = int(float(oldest[1])) if oldest else None
    return ArchiveLag(waiting, oldest_ms, int(hold_ms), kept_ms, int(lost or 0))


@contextlib.contextmanager
def _refusals() -> Any:
    """Raise `StoreUnavailable` for an error reply, so that the archive tries again."""
    try:
        yield
    except LinkReplyError as error:
        raise StoreUnavailable(str(error)) from error
