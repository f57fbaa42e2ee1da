"""The port `Deadlines` on Redis: due entries and their execution."""

import asyncio
from collections.abc import Mapping, Sequence

from mallard_engine.core.model import Need
from mallard_engine.ports import (
    Around,
    Deadlines,
    DueEntry,
    DueKind,
    Effects,
    JobRef,
    Look,
    Offered,
    Packed,
    nowhere,
)
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.packed import pack_as_read, read_to_pack
from mallard_engine.storage.records.drivers import read_position
from mallard_engine.storage.records.packing import pack
from mallard_protocol.lifecycle import Outcome, Risk

# For this long no other sweeper gets an overdue entry that was read.
_AGAIN_MS = 2_000
# A name in the index of external ids whose job is still listed is read again after this long.
_LOOK_AGAIN_MS = 3_600_000
_FORGET_LIMIT = 256
# Deflating this many takes 5 ms of the event loop.
_PACKED_AT_ONCE = 32
_KINDS = {kind.value: kind for kind in DueKind}
# The key that answers a question, and whether by the members that are due.
_LOOKS = {
    Look.DUE: ("due", True),
    Look.LIVE: ("nodes", False),
    Look.DEAD_NODES: ("nodes", True),
    Look.RISKS: ("risks", True),
    Look.ENDED_DATA: ("forget", True),
    Look.ENDED_ALERTS: ("alerts", False),
    Look.UNPACKED: ("unpacked", True),
    Look.DWELLS: ("dwell", False),
    Look.POLICIES: ("policy", False),
    Look.PAUSES: ("pauses", False),
    Look.GONE_IMAGES: ("gone_proofs", False),
    Look.ARCHIVE: ("archive", False),
}


class RedisDeadlines(Deadlines):
    """Deadlines on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def look(
        self, markets: Sequence[str], at: Sequence[Look]
    ) -> Mapping[Look, Sequence[str]]:
        found: dict[Look, list[str]] = {look: [] for look in at}
        groups = self._runner.by_server(markets)
        parts = await asyncio.gather(
            *(self._look(group, at) for group in groups), return_exceptions=True
        )
        problems = [part for part in parts if isinstance(part, BaseException)]
        if problems and len(problems) == len(parts):
            raise problems[0]
        for part in parts:
            if not isinstance(part, BaseException):  # another server is away
                for look, them in part.items():
                    found[look] += them
        return found

    async def _look(
        self, markets: tuple[str, ...], at: Sequence[Look]
    ) -> Mapping[Look, Sequence[str]]:
        args = {"markets": markets, "questions": [_LOOKS[look] for look in at]}
        try:
            answers = await self._runner.run("look", self._keys_of_first(markets), args)
        except LinkReplyError:
            if len(markets) == 1:
                raise
            # A market has moved to another server: ask for each separately.
            parts = await asyncio.gather(*(self._look((market,), at) for market in markets))
            return {look: [it for part in parts for it in part[look]] for look in at}
        return {
            look: [markets[place - 1] for place in places]
            for look, places in zip(at, answers, strict=True)
        }

    def _keys_of_first(self, markets: tuple[str, ...]) -> list[str]:
        return [self._runner.keys[markets[0]].key("due")]

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        args = {"limit": limit, "again_ms": _AGAIN_MS}
        members = await self._runner.run("due", [self._runner.keys[market].key("due")], args)
        return [_entry(member.decode(errors="replace")) for member in members]

    async def lapse(self, entry: DueEntry) -> tuple[Outcome | None, int, Effects]:
        args = {"offer": entry.offer, "member": entry.member}
        reply = await self._runner.on_job("lapse", JobRef(entry.id, entry.mall), args)
        if reply.verdict in {"gone", "early"}:
            return None, 0, reply.effects
        return Outcome(reply.verdict), reply.rest[0], reply.effects

    async def offer_more(self, entry: DueEntry) -> Offered:
        ref = JobRef(entry.id, entry.mall)
        reply = await self._runner.on_job("offer_more", ref, {"member": entry.member})
        return Offered(reply.verdict, None, reply.effects)

    async def expire(self, ref: JobRef, reason: str, max_attempts: int) -> Effects | None:
        args = {"reason": reason, "max_attempts": max_attempts}
        reply = await self._runner.on_job("expire", ref, args)
        return reply.effects if reply.verdict == "ok" else None

    async def queue(self, ref: JobRef) -> Effects:
        return (await self._runner.on_job("queue", ref, {})).effects

    async def next_opening(
        self, ref: JobRef, attempt: int, *, was: Need, need: Need, release_ms: int
    ) -> Effects | None:
        args = {"attempt": attempt, "was_ready_ms": was.ready_ms, "release_ms": release_ms}
        reply = await self._runner.on_job("next_opening", ref, args, [pack(need)])
        return reply.effects if reply.verdict == "ok" else None

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        args = {"attempt": attempt, "at_ms": at_ms}
        return (await self._runner.on_job("retry_later", ref, args)).effects

    async def silence(self, entry: DueEntry, is_around: Around = nowhere) -> Effects:
        ref, args = JobRef(entry.id, entry.mall), {"member": entry.member}
        reply = await self._runner.on_job("silence", ref, args)
        if reply.verdict == "where" and (at := read_position(reply.rest[1])) is not None:
            near = {
                "driver": reply.rest[0].decode(),
                "received_ms": at.received_ms,
                "is_near": is_around(at.lat, at.lon),
            }
            reply = await self._runner.on_job("silence", ref, {**args, "near": near})
        return reply.effects

    async def risks_due(self, market: str, limit: int) -> Sequence[str]:
        call, key = self._runner.link.call, self._runner.keys[market].key("risks")
        now_ms = self._runner.now_ms()
        jobs = await call("ZRANGE", key, "-inf", now_ms, "BYSCORE", "LIMIT", 0, limit)
        return [job.decode() for job in jobs]

    async def look_at_risk(self, job: str) -> Risk | None:
        # No mall: a risk moves no job, so the script does not touch a queue.
        reply = await self._runner.on_job("risk", JobRef(job, ""), {"job": job})
        return Risk(reply.rest[0].decode()) if reply.verdict == "changed" else None

    async def driver_due(self, market: str, driver: str) -> Effects:
        keys = self._runner.keys[market]
        return (await self._runner.transition("driver_due", keys, (), {"driver": driver})).effects

    async def forget(self, market: str) -> int:
        keys = self._runner.keys[market]
        lists = ("by_service", "by_age", "by_external", "open", "by_shop", "returns")
        images = ("proofs", "unused_proofs", "gone_proofs", "tracked")
        archive = ("archive", "unarchived")
        names = ("forget", "offers", "externals", "holds", *lists, *images, "by_customer", *archive)
        args = {"limit": _FORGET_LIMIT, "again_ms": _LOOK_AGAIN_MS}
        return int(await self._runner.run("forget", list(map(keys.key, names)), args))

    async def pack(self, market: str) -> Packed:
        keys, call = self._runner.keys[market], self._runner.link.call
        if market not in self._runner.packs:  # it released them when they ended
            await call("DEL", keys.key("unpacked"))
            return Packed()
        due = ("-inf", self._runner.now_ms(), "BYSCORE", "LIMIT", 0, _PACKED_AT_ONCE)
        jobs = await call("ZRANGE", keys.key("unpacked"), *due)
        sizes = await asyncio.gather(*(self._pack(keys, job.decode()) for job in jobs))
        packed = [size for size in sizes if size]
        return Packed(len(packed), sum(packed), len(jobs) == _PACKED_AT_ONCE)

    async def _pack(self, keys: MarketKeys, job: str) -> int:
        """Pack a job, unless it has just changed; return the bytes of its record, or 0."""
        fields, last_round = await read_to_pack(self._runner.link, keys, job)
        if not fields:  # its retention has ended
            await self._runner.link.call("ZREM", keys.key("unpacked"), job)
            return 0
        return await pack_as_read(self._runner, keys, job, fields, last_round)


def _entry(member: str) -> DueEntry:
    """Parse a due entry.

    Its forms are ``driver/<id>``, ``offer/<mall>/<offer>/<job>`` and ``<kind>/<mall>/<job>``.
    A malformed entry is ``UNKNOWN``: it must not stop the entries that were read with it.
    """
    match member.split("/"):
        case ["driver", driver]:
            return DueEntry(member, DueKind.DRIVER, driver)
        case ["offer", mall, offer, job]:
            return DueEntry(member, DueKind.OFFER, job, mall=mall, offer=offer)
        case [kind, mall, job]:
            return DueEntry(member, _KINDS.get(kind, DueKind.UNKNOWN), job, mall=mall)
        case _:
            return DueEntry(member, DueKind.UNKNOWN, "")
