"""The port `Deadlines` on Redis: due entries and their execution."""

from collections.abc import Sequence

from mallard_engine.core.model import Need
from mallard_engine.ports import (
    Around,
    Deadlines,
    DueEntry,
    DueKind,
    Effects,
    JobRef,
    Offered,
    nowhere,
)
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.records.drivers import read_position
from mallard_engine.storage.records.packing import pack
from mallard_protocol.lifecycle import Outcome, Risk

# For this long no other sweeper gets an overdue entry that was read.
_AGAIN_MS = 2_000
# A name in the index of external ids whose job is still listed is read again after this long.
_LOOK_AGAIN_MS = 3_600_000
_FORGET_LIMIT = 256
_KINDS = {kind.value: kind for kind in DueKind}


class RedisDeadlines(Deadlines):
    """Deadlines on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

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
