"""The port `Shops` on Redis: what the counter of a shop reads and reports."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mallard_engine.core.model import Job
from mallard_engine.ports import (
    Answered,
    Effects,
    JobPage,
    JobRef,
    Refused,
    Shops,
    TooManyWrongCodes,
)
from mallard_engine.storage.calls.script_runner import ScriptRunner, checked, driver_answer
from mallard_engine.storage.records.drivers import read_driver
from mallard_engine.storage.records.jobs import readable_job
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState

# A page reads at most this many jobs: those that ended without a parcel today are passed over.
_MAX_SCANNED = 1_000


class RedisShops(Shops):
    """Shops on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def set_hours(
        self, market: str, mall: str, store: str, until_ms: int, actor: str
    ) -> Effects:
        keys = self._runner.keys[market]
        args = {"mall": mall, "store": store, "until_ms": until_ms, "actor": actor}
        reply = await self._runner.transition("shop_hours", keys, [keys.key("holds")], args)
        return reply.effects

    async def apply_hours(self, ref: JobRef, store: str, actor: str) -> Effects:
        args = {"store": store, "actor": actor}
        return (await self._runner.on_job("shop_changes", ref, args)).effects

    async def hand_over(
        self, ref: JobRef, store: str, code: str, parcels: int | None, actor: str
    ) -> Answered:
        keys = self._runner.keys_of(ref.job)
        args: dict[str, object] = {"store": store, "code": code, "actor": actor}
        if parcels is not None:
            args["parcels"] = parcels
        more = [keys.guesses(ref.job), keys.guesses(f"{ref.mall}/{store}"), keys.key("dwell")]
        reply = await self._runner.on_job("shop_handover", ref, args, more=more)
        if reply.verdict == "barred":
            raise TooManyWrongCodes(reply.rest[0] / 1000)
        if reply.verdict == ErrorCode.WRONG_CODE:
            raise Refused(ErrorCode.WRONG_CODE, tries_left=reply.rest[0])
        done = driver_answer(checked(reply, ref))
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def pickups(
        self, market: str, mall: str, store: str, *, since_ms: int, limit: int, cursor: str | None
    ) -> JobPage:
        def is_shown(job: Job) -> bool:
            collected_ms = job.collected_ms
            return not job.terminal or (collected_ms is not None and collected_ms >= since_ms)

        return await self._page(market, "by_shop", mall, store, is_shown, limit, cursor)

    async def returns(
        self, market: str, mall: str, store: str, *, limit: int, cursor: str | None
    ) -> JobPage:
        def is_shown(job: Job) -> bool:
            place = job.return_to
            is_here = place is not None and (place.mall, place.store) == (mall, store)
            return job.state is JobState.RETURNING and is_here

        return await self._page(market, "returns", mall, store, is_shown, limit, cursor)

    async def _page(
        self,
        market: str,
        index: str,
        mall: str,
        store: str,
        is_shown: Callable[[Job], bool],
        limit: int,
        cursor: str | None,
    ) -> JobPage:
        found: list[Job] = []
        scanned = 0
        while scanned < _MAX_SCANNED:
            ids = await self._ids_before(market, index, mall, store, cursor, limit)
            for job in await self._jobs(market, ids):
                if job is not None and is_shown(job):
                    found.append(job)
                    if len(found) == limit:
                        return JobPage(tuple(found), job.id)
            if len(ids) < limit:
                return JobPage(tuple(found), None)
            scanned += len(ids)
            cursor = ids[-1]
        return JobPage(tuple(found), cursor)

    async def vehicles(self, market: str, drivers: Sequence[str]) -> Mapping[str, str]:
        if not drivers:
            return {}
        key = self._runner.keys[market].key("drivers")
        records = await self._runner.link.call("HMGET", key, *drivers)
        return {
            driver: read_driver(record).vehicle.kind
            for driver, record in zip(drivers, records, strict=True)
            if record is not None
        }

    async def _ids_before(
        self, market: str, index: str, mall: str, store: str, cursor: str | None, limit: int
    ) -> list[str]:
        """Return the ids of a shop's jobs below the cursor, newest first."""
        # "0" follows "/" in ASCII: the end of this shop's names.
        name = f"{mall}/{store}"
        high = f"({name}/{cursor}" if cursor else f"({name}0"
        key = self._runner.keys[market].key(index)
        members = await self._runner.link.call(
            "ZRANGE", key, high, f"[{name}/", "BYLEX", "REV", "LIMIT", 0, limit
        )
        return [member.decode().rpartition("/")[2] for member in members]

    async def _jobs(self, market: str, ids: Sequence[str]) -> list[Job | None]:
        keys, link = self._runner.keys[market], self._runner.link
        flats = await asyncio.gather(*(link.call("HGETALL", keys.job(job)) for job in ids))
        return [readable_job(job, flat) for job, flat in zip(ids, flats, strict=True)]
