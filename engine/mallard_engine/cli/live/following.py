"""Follows submitted jobs to their ends by the event stream and prints what happens to them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET

from mallard_client.errors import ApiProblem
from mallard_client.orders.client import OrderClient
from mallard_engine.input_files import quoted
from mallard_protocol.codes import ProblemCode
from mallard_protocol.events import Event, EventType
from mallard_protocol.lifecycle import JobState

# A token may have twenty streams; the rest is for others of the same service.
_STREAMS: Final = 15
_WAIT_S: Final = 3600.0
_NOT_PRINTED: Final = frozenset({EventType.DRIVER_MOVED})
_ANOTHER_WORD: Final = frozenset({"accepted", "eta", "offered", "submitted"})


async def follow(url: str, token: str, jobs: Sequence[str]) -> dict[str, str]:
    """Print the events of jobs until all have ended; return their final states.

    A stream that breaks resumes where it was. If more jobs are followed than a token may have
    streams, the others follow as earlier ones end.

    Raises:
        ClientError: the engine refuses to return a job.
    """
    turns = asyncio.Semaphore(_STREAMS)
    async with OrderClient(url, token) as orders:

        async def one(job: str) -> str:
            async with turns:
                return await _follow_job(orders, job)

        tasks = [asyncio.create_task(one(job)) for job in jobs]
        try:
            states = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return dict(zip(jobs, states, strict=True))


async def _follow_job(orders: OrderClient, job: str) -> str:
    printed = 0
    try:
        async for event in orders.job_events(job):
            if event.sequence > printed and event.type not in _NOT_PRINTED:
                print(line(event), flush=True)
            printed = max(printed, event.sequence)
    except ApiProblem as problem:
        # Its first events are no longer in the stream: only its end is printed.
        if problem.code != ProblemCode.EVENTS_TRIMMED:
            raise
    ended = await orders.get(job)
    while not ended.terminal:
        ended = await orders.wait(job, for_end=True, timeout_s=_WAIT_S)
    return ended.state


def line(event: Event) -> str:
    """Return an event as a line: when, which job, what, and by whom or why."""
    what = event.type.removeprefix("job.")
    data = event.data
    words = [_time(event.occurred_at), str(event.job), what]
    if event.driver is not UNSET:
        words.append(quoted(event.driver))
    cause = data.get("cause")
    if isinstance(cause, str) and cause not in {what, *_ANOTHER_WORD}:
        words.append(f"({cause})")
    reason = data.get("reason")
    if isinstance(reason, str) and reason != cause:
        words.append(f"({reason})")
    dropoff = (data.get("eta") or {}).get("dropoff")
    if what in {"assigned", "eta_changed"} and isinstance(dropoff, str):
        words.append(f"drop-off at {_time(datetime.fromisoformat(dropoff))}")
    return " ".join(words)


def failures(states: dict[str, str]) -> list[str]:
    """Return the jobs that ended, but not by their delivery."""
    return [job for job, state in states.items() if state != JobState.DELIVERED]


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
