"""Jobs as the order API lists them, with a timeline in seconds."""

from datetime import UTC, datetime, timedelta

import msgspec

from mallard_protocol.lifecycle import TERMINAL
from mallard_protocol.resources import Job, TimelineEntry

START = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


def a_job(
    job: str,
    *entries: tuple[float, str, str],
    driver: str | None = None,
) -> Job:
    """A job whose timeline has entries (seconds, state, cause); it is in the last one's state."""
    timeline = [
        TimelineEntry(state, START + timedelta(seconds=at_s), "engine", cause)
        for at_s, state, cause in entries
    ]
    state = timeline[-1].state
    fields = {
        "id": job,
        "market": "phoenix",
        "state": state,
        "terminal": state in TERMINAL,
        "attempt": 1,
        "driver": driver,
        "reason": None,
        "created_at": START.isoformat(),
        "updated_at": START.isoformat(),
        "expires_at": START.isoformat(),
        "eta": {"pickup": None, "dropoff": None},
        "timeline": msgspec.to_builtins(timeline),
        "pickup": {"mall": "chandler-fashion-center", "stores": []},
        "dropoff": {"lat": 33.3, "lon": -111.8},
        "parcels": {"count": 1},
        "requires": [],
        "priority": 0,
    }
    return msgspec.convert(fields, Job)
