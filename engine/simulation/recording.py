"""A live market's recorded day: its event stream and what its jobs needed, as a file.

One JSON object a line: a header, then jobs, then events in their order. A job's drop-off is where
somebody lives: the file is readable by its owner only. Positions of drivers are not in a market's
stream, so they are not in the file either.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.ports import StoreUnavailable
from engine.simulation.tables import TableError
from engine.store.keys import MarketKeys
from engine.store.records import read_job
from protocol.lifecycle import Outcome

_FORMAT: Final = "mallard recording 1"
_AT_ONCE: Final = 1_000
# An offer that was accepted, or taken back as another driver was faster, is none.
_REFUSALS: Final = frozenset({Outcome.DECLINED, Outcome.EXPIRED, Outcome.UNACKNOWLEDGED})
_TIMEOUT_S: Final = 30.0


class RecordedJob(msgspec.Struct, frozen=True):
    """What a job needed. ``refused_by``: the driver of each turn that ended with its refusal."""

    id: str
    mall: str
    stores: tuple[str, ...]
    lat: float
    lon: float
    created_ms: int
    ready_ms: int
    deadline_ms: int
    expires_ms: int
    refused_by: tuple[str, ...] = ()


class RecordedEvent(msgspec.Struct, frozen=True):
    """One entry of the stream. ``kind`` job: ``was`` and ``became`` are its states; ``driver``:
    ``what`` happened to it."""

    at: int
    kind: str
    job: str = ""
    driver: str = ""
    was: str = ""
    became: str = ""
    cause: str = ""
    what: str = ""
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A market's day."""

    market: str
    jobs: Mapping[str, RecordedJob]
    events: Sequence[RecordedEvent]


async def record(url: str, market: str) -> Recording:
    """Read a market's stream, and its jobs that are still known, from a store; writes nothing.

    :raises StoreUnavailable:
    """
    keys = MarketKeys(market)
    try:
        async with redis.asyncio.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        ) as client:
            events = [event async for event in _events(client, keys)]
            names = list(dict.fromkeys(event.job for event in events if event.kind == "job"))
            jobs: dict[str, RecordedJob] = {}
            for first in range(0, len(names), _AT_ONCE):
                some = names[first : first + _AT_ONCE]
                async with client.pipeline(transaction=False) as pipeline:
                    for name in some:
                        pipeline.hgetall(keys.job(name))
                    stored = await pipeline.execute()
                jobs |= {
                    name: _job(fields) for name, fields in zip(some, stored, strict=True) if fields
                }
    except (redis.RedisError, OSError, ValueError) as error:
        raise StoreUnavailable(str(error)) from error
    return Recording(market, jobs, events)


async def _events(client: Any, keys: MarketKeys) -> Any:
    cursor = "-"
    while True:
        entries = await client.xrange(keys.key("events"), cursor, "+", count=_AT_ONCE)
        for _, fields in entries:
            event = msgspec.msgpack.decode(fields[b"e"], strict=False)
            yield RecordedEvent(
                at=event["at"],
                kind=event["kind"],
                job=event.get("job") or "",
                driver=event.get("driver") or "",
                was=event.get("from") or "",
                became=event.get("to") or "",
                cause=event.get("cause") or "",
                what=event.get("what") or "",
                until_ms=event.get("until_ms"),
            )
        if len(entries) < _AT_ONCE:
            return
        cursor = "(" + entries[-1][0].decode()


def _job(fields: Mapping[bytes, bytes]) -> RecordedJob:
    job = read_job([part for pair in fields.items() for part in pair])
    need = job.need
    return RecordedJob(
        job.id,
        job.mall,
        need.stores,
        need.lat,
        need.lon,
        job.created_ms,
        need.ready_ms,
        need.deadline_ms,
        need.expires_ms,
        tuple(turn.driver for turn in job.asked if turn.outcome in _REFUSALS),
    )


def write_recording(recording: Recording, path: Path) -> None:
    """Write the file, readable by its owner only. :raises OSError:"""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for line in _lines(recording):
            file.write(json.dumps(line) + "\n")


def _lines(recording: Recording) -> Iterable[Mapping[str, Any]]:
    yield {"format": _FORMAT, "market": recording.market}
    for job in recording.jobs.values():
        yield {"job": msgspec.to_builtins(job)}
    for event in recording.events:
        yield {"event": msgspec.to_builtins(event)}


class _Line(msgspec.Struct, frozen=True):
    format: str = ""
    market: str = ""
    job: RecordedJob | None = None
    event: RecordedEvent | None = None


def read_recording(path: Path) -> Recording:
    """Read such a file. :raises TableError:"""
    decoder = msgspec.json.Decoder(_Line)
    jobs: dict[str, RecordedJob] = {}
    events: list[RecordedEvent] = []
    number, market = 0, ""
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                line = decoder.decode(text)
                if number == 1:
                    if line.format != _FORMAT or not line.market:
                        raise TableError(f"{path}: not a recording ({_FORMAT})")
                    market = line.market
                elif line.job is not None:
                    jobs[line.job.id] = line.job
                elif line.event is not None:
                    events.append(line.event)
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{path}, line {number}: {error}") from error
    if not jobs:
        raise TableError(f"{path}: there is no job in it")
    return Recording(market, jobs, events)
