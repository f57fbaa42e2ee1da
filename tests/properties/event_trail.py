"""The invariant of events: what a job's events tell is what its record has."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mallard_engine.core.model import Job

# News of a job in its state that are entries of kind `job` and no change of the timeline.
_NO_CHANGE = ("ready_changed", "held", "changed")


def check_events(jobs: Mapping[str, Job], entries: Sequence[Any]) -> None:
    """Each change of a job is one event, in order, with its time, service, attempt and driver.

    Args:
        jobs: the jobs.
        entries: the market's stream, of which the oldest entries may be gone.
    """
    changes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, (_, packed) in entries:
        event = msgspec.msgpack.decode(packed)
        if event["kind"] == "job" and not _is_news(event):
            changes[event["job"]].append(event)
    for name, job in jobs.items():
        recorded = changes[name]
        lived = job.timeline[-len(recorded) :] if recorded else ()
        assert [it["to"] for it in recorded] == [it.state for it in lived], f"{name}: {recorded}"
        for event, entry in zip(recorded, lived, strict=True):
            assert event["service"] == job.service, f"{name}: {event}"
            assert event["actor"] == entry.actor, f"{name}: {event}"
            assert event["cause"] == entry.cause, f"{name}: {event}"
            occurred = event.get("occurred_ms") or event["at"]
            assert occurred == (entry.occurred_ms or entry.at_ms), f"{name}: {event}"
        if recorded:
            assert (recorded[-1]["driver"] or None) == job.driver, f"{name}: {recorded[-1]}"
            assert recorded[-1]["attempt"] <= job.attempt, f"{name}: {recorded[-1]}"


def _is_news(event: Mapping[str, Any]) -> bool:
    return event["from"] == event["to"] and event["cause"] in _NO_CHANGE
