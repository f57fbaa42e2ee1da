"""The audit's judges of what jobs and drivers leave behind: entries, keys, counters, events.

As in ``audit_rules``, each gives (rule, what is wrong).
"""

from typing import Any, Final

import msgspec

from engine.store.audit_rules import SWEEP_GRACE_MS, due_members
from engine.store.audit_views import TRIES, Changing, Look, View
from engine.store.keys import BLOCK, job_at
from engine.store.records import read_driver, read_round_of_offers, read_waiting
from protocol.lifecycle import JOB_TRANSITIONS, TERMINAL, JobState

Judged = list[tuple[str, str]]

# Keys of a market that stay as long as it does. What is in them goes one by one: by transitions, by
# `forget`, by the streams' own limits.
LASTING: Final = frozenset({*BLOCK, "holds", "dwell", "by_service", "by_age"})
# Sets that are empty, and so gone, when there is nothing to do; keys of jobs, judged with the job.
# A name in a wait set: service, order, job, demand.
_LEAST_PARTS: Final = 3
_PASSING: Final = ("wait:", "job:")
_MUST_END: Final = ("round:", "idempotency:")
# Up to this many jobs are counted one by one: it is one step, which holds the store up.
_COUNTED: Final = 5_000
# Events that are no change of state.
_NO_CHANGE: Final = "ready_changed"


async def judge_due(look: Look, member: str) -> Judged:
    """An entry of the due set: it is its job's or its driver's own, and somebody sees to it."""
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
        late_ms = view.now_ms - int(score)
        if view.is_swept and late_ms > SWEEP_GRACE_MS:
            found.append(("L3", f"it is {late_ms} ms late"))
        return found
    state, mall, offer = ((value or b"").decode() for value in fields[:3])
    several = read_round_of_offers(fields[3]) if fields[3] else None
    if not state:
        found.append(("leak", "there is no such job"))
    elif member not in due_members(JobState(state), mall, job, offer, several):
        found.append(("S14", f"it is no entry of a job that is {state}"))
    return found


async def judge_wait(look: Look, entry: str) -> Judged:
    """An entry of a mall's wait set, ``<mall>/<place>``, or of what a round reads, ``/<job>``."""
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
    told = read_waiting(job, packed).attempt
    return (
        [] if told == int(attempt) else [("S7", f"rounds see attempt {told}, it is at {attempt}")]
    )


async def judge_coming(look: Look, entry: str) -> Judged:
    """Who may be offered one more job on its way, ``<mall>/<driver>``: its record says so too."""
    mall, _, driver = entry.partition("/")
    _, (score, packed) = await look.at_once(
        ("ZSCORE", look.keys.key("coming"), entry),
        ("HGET", look.keys.key("drivers"), driver),
    )
    if score is None:
        return []
    known = read_driver(packed) if packed else None
    if known is None or known.coming != mall or any(held.mall != mall for held in known.jobs):
        return [("S10", f"{driver} is no driver on its way to {mall} who may be offered more")]
    return []


async def judge_external(look: Look, name: str) -> Judged:
    """A service's external id, ``<service>/<id>``: its job has it, and is open or delivered."""
    keys = look.keys
    before = await look.client.hget(keys.key("externals"), name)
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
        return [("S8", f"its job {job} is {state}, and it is not free again")]
    if state == JobState.DELIVERED and kept is None:
        return [("leak", f"its job {job} is delivered and nobody will forget it")]
    return []


async def judge_key(look: Look, name: str) -> Judged:
    """A key of the market, without its prefix: one that we know, and that does not stay forever."""
    if name.startswith("held:"):
        return await _held_set(look, name)
    if name.startswith(_MUST_END):
        return await _passing_key(look, name)
    if name in LASTING or name.startswith(_PASSING):
        return []
    is_there = await look.client.exists(look.keys.key(name))
    return [("leak", "nobody knows this key")] if is_there else []


async def _held_set(look: Look, name: str) -> Judged:
    node = name.removeprefix("held:")
    common, (is_there,) = await look.at_once(("EXISTS", look.keys.key(name)))
    if is_there and node not in common["leases"]:
        return [("S10", f"nobody will reap the drivers of {node}")]
    return []


async def _passing_key(look: Look, name: str) -> Judged:
    key = look.keys.key(name)
    _, (ttl_ms, value) = await look.at_once(("PTTL", key), ("GET", key))
    if value is None:
        return []
    if ttl_ms < 0:
        return [("leak", "it has no TTL")]
    if not name.startswith("idempotency:"):
        return []
    # S8, S4: an idempotency key's job is there and is its service's.
    job = value.decode().partition(" ")[2]
    service = (await look.client.hget(look.keys.job(job), "service") or b"").decode()
    if not service:
        return [("S4", f"its job {job} is gone")]
    if not name.startswith(f"idempotency:{service}:"):
        return [("S8", f"its job {job} is {service}'s")]
    return []


async def judge_counts(look: Look) -> Judged:
    """S13: the counts of jobs by state add up, and are those of the jobs."""
    counts, states = await _counted(look)
    found: Judged = []
    by_state = {name: count for name, count in counts.items() if name != "submitted"}
    if sum(by_state.values()) != counts.get("submitted", 0):
        found.append(("S13", f"the states add up to {sum(by_state.values())}, not to {counts}"))
    found += [("S13", f"{count} jobs are {name}") for name, count in by_state.items() if count < 0]
    if states is not None:
        # Ended jobs go after a week, their counts stay.
        for state in set(JobState) - TERMINAL:
            counted, there = counts.get(state, 0), states.count(state)
            if counted != there:
                found.append(("S13", f"{there} jobs are {state}, and {counted} are counted"))
    return found


async def _counted(look: Look) -> tuple[dict[str, int], list[str] | None]:
    """The counters, and the state of every job at that moment; None if there are too many."""
    keys = look.keys
    for _ in range(TRIES):
        jobs = [job.decode() for job in await look.client.zrange(keys.key("by_age"), 0, _COUNTED)]
        asked = jobs if len(jobs) <= _COUNTED else []
        _, (flat, total, *states) = await look.at_once(
            ("HGETALL", keys.key("counts")),
            ("ZCARD", keys.key("by_age")),
            *(("HGET", keys.job(job), "state") for job in asked),
        )
        counts = {name.decode(): int(count) for name, count in flat.items()}
        if len(jobs) > _COUNTED:
            return counts, None
        if total == len(jobs):
            return counts, [state.decode() for state in states if state]
    raise Changing


async def judge_events(look: Look, limit: int) -> Judged:
    """S7, S9: the newest changes of state follow from one another as the contract allows."""
    entries = await look.client.xrevrange(look.keys.key("events"), count=limit)
    last: dict[str, dict[str, Any]] = {}
    found: Judged = []
    for _, fields in reversed(entries):
        event = msgspec.msgpack.decode(fields[b"e"], strict=False)
        if event["kind"] == "job":
            job = event["job"]
            found += [(rule, f"{job}: {what}") for rule, what in _change(last.get(job), event)]
            last[job] = event
    return found


def _change(before: dict[str, Any] | None, event: dict[str, Any]) -> Judged:
    was, became, cause = event["from"], event["to"], event["cause"]
    found: Judged = []
    if before is not None and before["to"] != was:
        found.append(("S9", f"it was {before['to']}, and then went from {was} to {became}"))
    if before is not None and event["attempt"] < before["attempt"]:
        found.append(("S7", f"its attempt fell from {before['attempt']} to {event['attempt']}"))
    if was in TERMINAL:
        found.append(("S9", f"it was {was} and became {became}"))
    elif was and not _is_allowed(was, became, cause):
        found.append(("lifecycle", f"it went from {was} to {became} for {cause}"))
    return found


def _is_allowed(was: str, became: str, cause: str) -> bool:
    if cause == _NO_CHANGE:
        return was == became
    return any(
        t.cause == cause and t.target == became and was in t.sources for t in JOB_TRANSITIONS
    )
