"""Checks what jobs and drivers leave in the storage: entries, keys, counters, events.

As in ``rules``, each function yields (rule, what is wrong).
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mallard_engine.contract.transitions import JOB_TRANSITIONS
from mallard_engine.ports import DueKind
from mallard_engine.storage.audit.rules import SWEEP_GRACE_MS, due_members
from mallard_engine.storage.audit.views import Changing, Look, View
from mallard_engine.storage.keys import BLOCK, job_at
from mallard_engine.storage.records.drivers import read_driver
from mallard_engine.storage.records.jobs import read_need, read_waiting
from mallard_engine.storage.records.offers import read_round_of_offers
from mallard_protocol.events import EVENTS_KEPT_MS
from mallard_protocol.lifecycle import TERMINAL, JobState

Judged = list[tuple[str, str]]

# Keys that a market always has. Their members are removed one by one: by transitions, by `forget`,
# and by the length limits of the streams.
LASTING: Final = frozenset(
    {*BLOCK, "holds", "dwell", "by_service", "by_age", "by_external", "leases", "lineage"}
    | {"open", "open_seen", "alerted", "registry", "by_shop", "by_customer", "returns", "risks"}
    | {"moves", "proofs", "unused_proofs", "gone_proofs", "link_key", "tracked"}
    | {"pauses", "alerts", "alerts_open", "alerts_done", "dead_letters", "policy", "policy_nodes"}
    | {"archive", "unarchived", "unpacked", "peers", "changed"}
)
# A name in a wait set: service, order, job, demand.
_LEAST_PARTS: Final = 3
# Sets that Redis removes when they are empty; keys of jobs, which are checked with the job; bytes
# that services have stored, which have a TTL from the first write on.
_PASSING: Final = ("queue:", "wait:", "job:", "stored:")
_MUST_END: Final = (
    *("round:", "idempotency:", "alias:", "guesses:", "heading:", "role:", "barrier:"),
)
# Jobs read in one step, which blocks Redis for less than a millisecond.
PAGE: Final = 256
_EVENTS_A_READ: Final = 500
# Jobs whose next change is remembered while the events are read backwards.
_MAX_REMEMBERED: Final = 100_000
# Old events are trimmed. The time in an event's id may be some milliseconds after its event.
_KEPT_MARGIN_MS: Final = 60_000
_STAMP_MARGIN_MS: Final = 1_000
# Events that are no change of state.
_NO_CHANGE: Final = "ready_changed"


async def judge_due(look: Look, member: str) -> Judged:
    """Check an entry of the due set: it belongs to its job or driver, and is handled in time."""
    kind, *names = member.split("/")
    job = names[-1] if names else ""
    common, (score, record, fields) = await look.at_once(
        ("ZSCORE", look.keys.key("due"), member),
        ("HEXISTS", look.keys.key("drivers"), job),
        ("HMGET", look.keys.job(job), "state", "mall", "offer", "round"),
    )
    if score is None:
        return []
    found: Judged = []
    if kind == "driver":
        if not record:
            found.append(("leak", "there is no such driver"))
        view = View(**common)
        late_ms = view.now_ms - int(float(score))
        if view.is_swept and late_ms > SWEEP_GRACE_MS:
            found.append(("L3", f"it is {late_ms} ms late"))
        return found
    state, mall, offer = ((value or b"").decode() for value in fields[:3])
    if kind == DueKind.TRANSFER and state:
        view = View(**common)
        late_ms = view.now_ms - int(float(score))
        is_late = view.is_swept and late_ms > SWEEP_GRACE_MS
        return [("L3", f"it is {late_ms} ms late")] if is_late else []
    several = read_round_of_offers(fields[3]) if fields[3] else None
    if not state:
        found.append(("leak", "there is no such job"))
    elif member not in due_members(JobState(state), mall, job, offer, several):
        found.append(("S14", f"a job that is {state} has no such entry"))
    return found


async def judge_wait(look: Look, entry: str) -> Judged:
    """Check an entry of a mall's wait set, ``<mall>/<place>``, or of ``waiting``, ``/<job>``."""
    mall, _, name = entry.partition("/")
    job = job_at(name) if mall and name.count("/") >= _LEAST_PARTS else name
    keys = look.keys
    _, (score, packed, fields) = await look.at_once(
        ("ZSCORE", keys.wait(mall), name),
        ("HGET", keys.key("waiting"), job),
        ("HMGET", keys.job(job), "state", "mall", "attempt"),
    )
    state, place, attempt = ((value or b"").decode() for value in fields)
    if mall:
        if score is not None and (state, place) != (JobState.QUEUED, mall):
            return [("queue", f"its job is {state or 'gone'}, at {place or 'no mall'}")]
        return []
    if packed is None:
        return []
    if state != JobState.QUEUED:
        return [("queue", f"its job is {state or 'gone'}")]
    read = read_waiting(job, packed).attempt
    if read == int(attempt):
        return []
    return [("S7", f"rounds read attempt {read}, but the job is at {attempt}")]


async def judge_coming(look: Look, entry: str) -> Judged:
    """Check an entry of ``coming``, ``<mall>/<driver>``, against the driver's record."""
    mall, _, driver = entry.partition("/")
    _, (score, packed) = await look.at_once(
        ("ZSCORE", look.keys.key("coming"), entry),
        ("HGET", look.keys.key("drivers"), driver),
    )
    if score is None:
        return []
    known = read_driver(packed) if packed else None
    if known is None or known.coming != mall or any(held.mall != mall for held in known.jobs):
        return [("S10", f"{driver} is not on its way to {mall}, or may not be offered another job")]
    return []


async def judge_external(look: Look, name: str) -> Judged:
    """Check an external id, ``<service>/<id>``: its job has it, and is open or delivered."""
    keys = look.keys
    before = await look.read("HGET", keys.key("externals"), name)
    if before is None:
        return []
    job = before.decode()
    _, (after, fields, kept) = await look.at_once(
        ("HGET", keys.key("externals"), name),
        ("HMGET", keys.job(job), "state", "service", "external_id"),
        ("ZSCORE", keys.key("forget"), f"external/{name}"),
    )
    if after != before:
        raise Changing
    state, service, external = ((value or b"").decode() for value in fields)
    if not state:
        return [] if kept is not None else [("leak", f"its job {job} is gone")]
    if f"{service}/{external}" != name:
        return [("S8", f"its job {job} has {service}/{external}")]
    if JobState(state) in TERMINAL - {JobState.DELIVERED}:
        return [("S8", f"its job {job} is {state}, but the id is not free again")]
    if state == JobState.DELIVERED and kept is None:
        return [("leak", f"its job {job} is delivered, but no entry of `forget` removes it")]
    return []


async def judge_by_shop(look: Look, name: str) -> Judged:
    """Check a job in the list of a shop, ``<mall>/<store>/<job>``."""
    mall, store, job = name.split("/")
    keys = look.keys
    _, (score, fields, open_till, shown_till) = await look.at_once(
        ("ZSCORE", keys.key("by_shop"), name),
        ("HMGET", keys.job(job), "mall", "need"),
        ("ZSCORE", keys.key("forget"), f"shop/{name}"),
        ("ZSCORE", keys.key("forget"), f"collected/{name}"),
    )
    if score is None:
        return []
    found: Judged = []
    if open_till is None and shown_till is None:
        found.append(("leak", "no entry of `forget` removes it"))
    if fields[1] is not None:
        stores = read_need(fields[1]).stores
        if (fields[0] or b"").decode() != mall or store not in stores:
            found.append(("S11", f"{job} has no parcels there"))
    return found


async def judge_by_customer(look: Look, name: str) -> Judged:
    """Check a job of a customer, ``<ref>/<service>/<job>``."""
    _, service, job = name.split("/")
    keys = look.keys
    _, (score, fields, kept) = await look.at_once(
        ("ZSCORE", keys.key("by_customer"), name),
        ("HMGET", keys.job(job), "service", "erased_ms"),
        ("ZSCORE", keys.key("forget"), f"customer/{name}"),
    )
    if score is None:
        return []
    found: Judged = []
    if kept is None:
        found.append(("leak", "no entry of `forget` removes it"))
    if fields[0] is not None and fields[0].decode() != service:
        found.append(("S11", f"{job} is a job of {fields[0].decode()}"))
    if fields[1] is not None:
        found.append(("index", f"what {job} had of its customer has been removed"))
    return found


async def judge_returns(look: Look, name: str) -> Judged:
    """Check a job that goes back to a place, ``<mall>/<store>/<job>``."""
    mall, store, job = name.split("/")
    keys = look.keys
    _, (score, fields, kept) = await look.at_once(
        ("ZSCORE", keys.key("returns"), name),
        ("HMGET", keys.job(job), "state", "return_to"),
        ("ZSCORE", keys.key("forget"), f"back/{name}"),
    )
    if score is None:
        return []
    found: Judged = []
    if kept is None:
        found.append(("leak", "no entry of `forget` removes it"))
    state, packed = fields
    place = msgspec.msgpack.decode(packed) if packed else {}
    where = (place.get("mall"), place.get("store"))
    if state is not None and (state != b"returning" or where != (mall, store)):
        # An engine that does not know the list may have ended it.
        found.append(("index", f"{job} is {state.decode()} and does not go back there"))
    return found


async def judge_proof(look: Look, proof: str) -> Judged:
    """Check an uploaded image: its removal is scheduled, and at most one job uses it."""
    keys = look.keys
    packed = await look.read("HGET", keys.key("proofs"), proof)
    image = msgspec.msgpack.decode(packed) if packed else {}
    name, job = f"{image.get('driver')}/{proof}", image.get("job", "")
    _, (still, kept, unused, given) = await look.at_once(
        ("HEXISTS", keys.key("proofs"), proof),
        ("ZSCORE", keys.key("forget"), f"proof/{name}"),
        ("ZSCORE", keys.key("unused_proofs"), name),
        ("HGET", keys.job(job), "proofs"),
    )
    if not still:
        return []
    found: Judged = []
    if kept is None:
        found.append(("leak", "no entry of `forget` removes it"))
    if (unused is None) != bool(job):
        found.append(("proof", f"it counts as unused: {unused is not None}; its job: {job!r}"))
    values = [it.get("value") for it in msgspec.msgpack.decode(given or b"\x90")]
    if given is not None and proof not in values:
        found.append(("proof", f"{job} does not have it"))
    return found


async def judge_key(look: Look, name: str) -> Judged:
    """Check that a key (without its prefix) is known and will be removed."""
    if name.startswith("held:"):
        return await _held_set(look, name)
    if name.startswith("push:"):
        return await _push_stream(look, name)
    if name.startswith(_MUST_END):
        return await _passing_key(look, name)
    if is_judged_elsewhere(name):
        return []
    is_there = await look.read("EXISTS", look.keys.key(name))
    return [("leak", "the key is unknown")] if is_there else []


async def _held_set(look: Look, name: str) -> Judged:
    node = name.removeprefix("held:")
    common, (is_there,) = await look.at_once(("EXISTS", look.keys.key(name)))
    if is_there and node not in common["leases"]:
        return [("S10", f"the node {node} has no lease, so no sweeper reaps its drivers")]
    return []


async def _push_stream(look: Look, name: str) -> Judged:
    node = name.removeprefix("push:")
    common, (is_there,) = await look.at_once(("EXISTS", look.keys.key(name)))
    if is_there and node not in common["leases"]:
        return [("leak", f"the node {node} has no lease, so no node deletes its pushes")]
    return []


async def _passing_key(look: Look, name: str) -> Judged:
    key = look.keys.key(name)
    _, (ttl_ms, value) = await look.at_once(("PTTL", key), ("GET", key))
    if value is None:
        return []
    if ttl_ms < 0:
        return [("leak", "it has no TTL")]
    return await _idempotency(look, name, value) if name.startswith("idempotency:") else []


async def _idempotency(look: Look, name: str, value: bytes) -> Judged:
    """Check that the job of an idempotency key exists, with the same service and key (S4, S8)."""
    job = value.decode().partition(" ")[2]
    fields = await look.read("HMGET", look.keys.job(job), "service", "key")
    service, digest = ((field or b"").decode() for field in fields)
    if not service:
        return [("S4", f"its job {job} is gone")]
    if not name.startswith(f"idempotency:{service}:"):
        return [("S8", f"its job {job} is {service}'s")]
    if digest and not name.endswith(f":{digest}"):
        return [("S8", f"its job {job} was submitted with another key")]
    return []


def is_judged_elsewhere(name: str) -> bool:
    """Return whether other checks cover this key, so that its name needs none."""
    return name in LASTING or name.startswith(_PASSING)


async def pages_of_jobs(look: Look) -> AsyncIterator[list[str]]:
    """Yield all listed jobs, newest first, a page at a time."""
    before = "+"
    while True:
        page = await look.read(
            "ZRANGE", look.keys.key("by_age"), before, "-", "BYLEX", "REV", "LIMIT", 0, PAGE
        )
        if page:
            yield [job.decode() for job in page]
        if len(page) < PAGE:
            return
        before = f"({page[-1].decode()}"


def newest_event(look: Look) -> tuple[str | int, ...]:
    """Return the command that reads the newest event."""
    return ("XREVRANGE", look.keys.key("events"), "+", "-", "COUNT", 1)


def id_of(entries: list[Any]) -> str:
    """Return the id of the first of these entries; `0-0` without any."""
    return entries[0][0].decode() if entries else "0-0"


async def events_between(look: Look, first: str, last: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the jobs' changes of state between two ids of the event stream, in order."""
    while True:
        entries = await look.read(
            "XRANGE", look.keys.key("events"), first, last, "COUNT", _EVENTS_A_READ
        )
        for _, (_, packed) in entries:
            event = msgspec.msgpack.decode(packed, strict=False)
            if event["kind"] == "job":
                yield event
        if len(entries) < _EVENTS_A_READ:
            return
        first = f"({entries[-1][0].decode()}"


@dataclass(slots=True)
class Changes:
    """The earliest and the latest time of a job's last change (epoch ms).

    Only changes count whose events are still kept.
    """

    earliest_ms: int | None = None
    latest_ms: int = 0

    def note(self, at_ms: int, now_ms: int) -> None:
        """Note the time of a job's last change."""
        if at_ms > now_ms - EVENTS_KEPT_MS + _KEPT_MARGIN_MS:
            self.earliest_ms = min(at_ms, self.earliest_ms or at_ms)
            self.latest_ms = max(at_ms, self.latest_ms)


async def judge_events(look: Look, changes: Changes, limit: int) -> Judged:
    """Check the newest changes of state, and that the stream covers all jobs' last changes.

    Each change must follow from the one before as the contract allows (S7, S9).
    """
    key, found = look.keys.key("events"), await _missing(look, changes)
    later: OrderedDict[str, dict[str, Any]] = OrderedDict()
    last, left = "+", limit
    while left > 0:
        entries = await look.read("XREVRANGE", key, last, "-", "COUNT", min(left, _EVENTS_A_READ))
        for _, (_, packed) in entries:
            event = msgspec.msgpack.decode(packed, strict=False)
            if event["kind"] == "job":
                job = event["job"]
                found += [(rule, f"{job}: {what}") for rule, what in _change(event, later.get(job))]
                later[job] = event
                later.move_to_end(job)
                if len(later) > _MAX_REMEMBERED:
                    later.popitem(last=False)
        if len(entries) < min(left, _EVENTS_A_READ):
            break
        left -= len(entries)
        last = f"({entries[-1][0].decode()}"
    return found


async def _missing(look: Look, changes: Changes) -> Judged:
    """Return which times the stream should cover but does not."""
    if changes.earliest_ms is None:
        return []
    _, (oldest, newest) = await look.at_once(
        ("XRANGE", look.keys.key("events"), "-", "+", "COUNT", 1), newest_event(look)
    )
    if not oldest:
        return [("events", "the stream is empty, although jobs have changed within its time")]
    first_ms, last_ms = (int(id_of(each).partition("-")[0]) for each in (oldest, newest))
    found: Judged = []
    if first_ms > changes.earliest_ms + _STAMP_MARGIN_MS:
        lost_s = (first_ms - changes.earliest_ms) / 1000
        found.append(("events", f"the first {lost_s:.3f} s are missing, with a job's last change"))
    if last_ms < changes.latest_ms:
        lost_s = (changes.latest_ms - last_ms) / 1000
        found.append(("events", f"the last {lost_s:.3f} s are missing, with a job's last change"))
    return found


def _change(event: dict[str, Any], after: dict[str, Any] | None) -> Judged:
    """Check a change of a job, and that the next one, if it is known, follows from it."""
    was, became, cause = event["from"], event["to"], event["cause"]
    found: Judged = []
    if after is not None and after["from"] != became:
        found.append(("S9", f"it became {became}, then went from {after['from']} to {after['to']}"))
    if after is not None and after["attempt"] < event["attempt"]:
        found.append(("S7", f"its attempt fell from {event['attempt']} to {after['attempt']}"))
    if was in TERMINAL:
        found.append(("S9", f"it went from {was} to {became}"))
    elif was and not _is_allowed(was, became, cause):
        found.append(("lifecycle", f"it went from {was} to {became} for {cause}"))
    return found


def _is_allowed(was: str, became: str, cause: str) -> bool:
    if cause == _NO_CHANGE:
        return was == became
    return any(
        t.cause == cause and t.target == became and was in t.sources for t in JOB_TRANSITIONS
    )
