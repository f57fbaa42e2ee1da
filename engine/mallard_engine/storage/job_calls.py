"""Jobs: submission, reading, and what order services and operators do to them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from mallard_engine.core.model import Job, Need, Submission
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import (
    NO_QUOTAS,
    DriverUnavailable,
    DuplicateExternalId,
    Effects,
    IdempotencyMismatch,
    JobPage,
    JobQuery,
    JobRef,
    NoSuchDriver,
    NoSuchJob,
    QuotaExceeded,
    StoreUnavailable,
    Submitted,
    WrongState,
)
from mallard_engine.storage.calls import Calls, Reply
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records import job_of, pack, read_job
from mallard_protocol.lifecycle import JobState

# The same record is met again with every page.
_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=3_600.0)

_PAGE_READ = 200
# A filtered list looks through this many jobs a page at the most; the cursor leads on.
_MAX_SCANNED = 2_000
_UNAVAILABLE = {
    "suspended": "the driver is suspended",
    "busy": "the driver has no room for it or has a live offer",
}
# How often a transition is tried whose job is offered in a run that changes each time.
_MOST_TRIES = 8


class JobCalls(Calls):
    """The order side of :class:`mallard_engine.ports.Store`."""

    _quotas = NO_QUOTAS
    _on_quota: Callable[[str], None] | None = None

    async def submit(self, submission: Submission) -> Submitted:
        """See :meth:`mallard_engine.ports.Store.submit`."""
        s = submission
        keys = self._keys[s.market]
        extra = [
            keys.wait(s.mall),
            keys.job(s.job),
            keys.idempotency(s.service, _digest(s.key)),
            keys.key("by_service"),
            keys.key("by_age"),
            keys.key("by_external"),
            keys.key("open"),
            keys.key("open_seen"),
            keys.stored(s.service),
        ]
        args: dict[str, Any] = {
            "job": s.job,
            "market": s.market,
            "service": s.service,
            "mall": s.mall,
            "hash": s.body_hash,
            "external_id": s.external_id or "",
            "state": s.state.value,
            "release_ms": s.release_ms,
            "age_check": s.needs_age_check,
            "expires_ms": s.need.expires_ms,
            "deadline_ms": s.need.deadline_ms,
            "priority": s.need.priority,
            "demand": s.need.demand,
            "max_open": self._quotas.open_jobs,
            "max_stored": self._quotas.stored_bytes,
        }
        if s.pin or s.pickup_codes:
            args["codes"] = {"door": s.pin, "shops": s.pickup_codes}
        blobs = [s.body, s.card, pack(s.need)]
        reply = await self._transition("submit", keys, extra, args, blobs)
        if reply.verdict == "mismatch":
            raise IdempotencyMismatch(s.key)
        if reply.verdict == "duplicate":
            raise DuplicateExternalId(reply.rest[0].decode())
        if reply.verdict == "quota":
            which = reply.rest[0].decode()
            if self._on_quota is not None:
                self._on_quota(which)
            raise QuotaExceeded(which)
        if reply.verdict == "replayed":
            return Submitted(await self.job(reply.rest[0].decode()), True, reply.effects)
        return Submitted(job_of(s, reply.effects.now_ms), False, reply.effects)

    async def submitted(
        self, market: str, service: str, key: str, body_hash: str
    ) -> Submitted | None:
        """See :meth:`mallard_engine.ports.Store.submitted`."""
        name = self._keys[market].idempotency(service, _digest(key))
        used: bytes | None = await self._link.call("GET", name)
        if used is None:
            return None
        used_for, job = used.decode().split(" ")
        if used_for != body_hash:
            raise IdempotencyMismatch(key)
        return Submitted(await self.job(job), True, Effects())

    async def job(self, job: str) -> Job:
        """See :meth:`mallard_engine.ports.Store.job`."""
        flat = await self._link.call("HGETALL", self._market_of(job).job(job))
        if not flat:
            raise NoSuchJob(job)
        return read_job(flat)

    async def jobs(
        self,
        market: str,
        query: JobQuery,
        *,
        service: str | None,
        limit: int,
        cursor: str | None,
        oldest: str | None = None,
    ) -> JobPage:
        """See :meth:`mallard_engine.ports.Store.jobs`."""
        keys = self._keys[market]
        found: list[Job] = []
        scanned = 0
        while scanned < _MAX_SCANNED:
            if query.external_id is None:
                ids = await self._ids_before(keys, service, cursor, oldest or "")
            else:
                ids = await self._ids_named(keys, service, query.external_id, cursor)
            for job in await self._wanted(keys, ids, query) if ids and query.needs_record else ids:
                flat = await self._link.call("HGETALL", keys.job(job))
                known = _readable(job, flat) if flat else None
                # It may have changed since it was chosen.
                if known and query.wants(known.state, known.created_ms, known.updated_ms):
                    found.append(known)
                    if len(found) == limit:
                        return JobPage(tuple(found), job)
            scanned += len(ids)
            if len(ids) < _PAGE_READ:
                return JobPage(tuple(found), None)
            cursor = ids[-1]
        return JobPage(tuple(found), cursor)

    async def _wanted(self, keys: MarketKeys, ids: Sequence[str], query: JobQuery) -> list[str]:
        """Which of the jobs a query wants: the others are not read here."""
        args = {
            "states": sorted(query.states),
            "created_from": query.created_from_ms,
            "created_to": query.created_to_ms,
            "updated_since": query.updated_since_ms,
        }
        places = await self._plain("wanted_jobs", [keys.job(job) for job in ids], args)
        return [ids[place - 1] for place in places]

    async def _ids_before(
        self, keys: MarketKeys, service: str | None, cursor: str | None, oldest: str
    ) -> list[str]:
        """Up to a page of job ids older than the cursor, newest first: ids sort by their time."""
        if service is None:
            name, low, high = "by_age", f"[{oldest}", f"({cursor}" if cursor else "+"
        else:
            # "0" is the character after "/": the end of this service's names.
            name, low = "by_service", f"[{service}/{oldest}"
            high = f"({service}/{cursor}" if cursor else f"({service}0"
        members = await self._link.call(
            "ZRANGE", keys.key(name), high, low, "BYLEX", "REV", "LIMIT", 0, _PAGE_READ
        )
        return [member.decode().rpartition("/")[2] for member in members]

    async def _ids_named(
        self, keys: MarketKeys, service: str | None, external_id: str, cursor: str | None
    ) -> list[str]:
        """The same, of the jobs with this external id."""
        name = external_id if service is None else f"{external_id}/{service}"
        high = f"({name}/{cursor}" if service and cursor else f"({name}0"
        members = await self._link.call(
            "ZRANGE",
            keys.key("by_external"),
            *(high, f"[{name}/", "BYLEX", "REV", "LIMIT", 0, _MAX_SCANNED),
        )
        ids = {member.decode().rpartition("/")[2] for member in members}
        if service is not None:
            # An engine of schema 1 does not write the index.
            known = await self._link.call("HGET", keys.key("externals"), f"{service}/{external_id}")
            ids |= {known.decode()} if known else set()
        older = sorted((job for job in ids if cursor is None or job < cursor), reverse=True)
        return older[:_PAGE_READ]

    async def cancel(self, ref: JobRef, actor: str, reason: str) -> Effects:
        """See :meth:`mallard_engine.ports.Store.cancel`."""
        reply = await self._on_job("cancel", ref, {"actor": actor, "reason": reason})
        return must_have_been(reply, ref).effects

    async def ready(
        self,
        ref: JobRef,
        *,
        was: Job,
        body: bytes,
        card: bytes,
        need: Need,
        release_ms: int,
        etas: tuple[int, int] | None = None,
    ) -> Effects | None:
        """See :meth:`mallard_engine.ports.Store.ready`."""
        blobs = [was.body, body, card, pack(replace(need, service=was.service))]
        args: dict[str, object] = {"release_ms": release_ms, "expires_ms": need.expires_ms}
        if etas is not None:
            args["etas"] = {"attempt": was.attempt, "pickup_ms": etas[0], "dropoff_ms": etas[1]}
        reply = await self._on_job("ready", ref, args, blobs)
        return None if reply.verdict == "again" else must_have_been(reply, ref).effects

    async def assign(self, ref: JobRef, driver: str, actor: str) -> Effects:
        """See :meth:`mallard_engine.ports.Store.assign`."""
        reply = await self._on_job("assign", ref, {"driver": driver, "actor": actor})
        if reply.verdict == "no_driver":
            raise NoSuchDriver(driver)
        if reply.verdict in _UNAVAILABLE:
            raise DriverUnavailable(_UNAVAILABLE[reply.verdict])
        return must_have_been(reply, ref).effects

    async def close_job(self, ref: JobRef, state: JobState, actor: str, reason: str) -> Effects:
        """See :meth:`mallard_engine.ports.Store.close_job`."""
        args = {"state": state.value, "actor": actor, "reason": reason}
        return must_have_been(await self._on_job("close", ref, args), ref).effects

    async def counts(self, market: str) -> Mapping[str, int]:
        """See :meth:`mallard_engine.ports.Store.counts`."""
        flat = await self._link.call("HGETALL", self._keys[market].key("counts"))
        return {k.decode(): int(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}

    async def _on_job(
        self,
        name: str,
        ref: JobRef,
        args: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
        run: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> Reply:
        """Run a transition of a job. Where it is offered in a run, the script must be told the keys
        of all its jobs: ``run``, if they are known, else the script says which they are. ``more``:
        keys behind theirs."""
        keys = self._market_of(ref.job)
        jobs = run or (ref.job,)
        for _ in range(_MOST_TRIES):
            extra = [keys.wait(ref.mall), *map(keys.job, jobs), *more]
            reply = await self._transition(name, keys, extra, args, blobs)
            if reply.verdict != "run":
                return reply
            others = [job.decode() for job in reply.rest[0]]
            # An answer is to the offer, in its order; any other transition is the named job's.
            jobs = others if run else [ref.job, *(job for job in others if job != ref.job)]
        raise StoreUnavailable(f"the run of {ref.job} changed each time")


def _readable(job: str, flat: Sequence[bytes]) -> Job | None:
    """The job; None, with a line in the log, if its record cannot be read: the others can."""
    try:
        return read_job(flat)
    except (KeyError, ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
        _often.error("record cannot be read", job=job, error=repr(error))
        return None


def must_have_been(reply: Reply, ref: JobRef) -> Reply:
    """This reply. :raises NoSuchJob: :raises WrongState:"""
    if reply.verdict == "gone":
        raise NoSuchJob(ref.job)
    if reply.verdict == "wrong_state":
        raise WrongState(JobState(reply.rest[0].decode()))
    return reply


def _digest(key: str) -> str:
    """What stands for an idempotency key in the name of a key of ours: it may hold any sign."""
    return hashlib.sha256(key.encode()).hexdigest()
