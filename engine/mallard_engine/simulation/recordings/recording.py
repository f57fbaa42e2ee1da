"""Records a day of a live market in a file: its event stream and the needs of its jobs.

The file has one JSON object per line: a header, the jobs, then the events in order. Drop-offs are
home addresses, so only the owner can read the file. Drivers' positions are not in the stream and
not in the file.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from mallard_engine.input_files import InputError, numbered_lines, read_text
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import Store, StoreLink
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records.jobs import read_job
from mallard_protocol.fields import EpochMs, Id, Lat, Lon
from mallard_protocol.lifecycle import JobState, Outcome

_FORMAT: Final = "mallard recording 1"
_AT_ONCE: Final = 1_000
# An accepted offer, or one withdrawn because another driver was faster, is not a refusal.
REFUSALS: Final = frozenset({Outcome.DECLINED, Outcome.EXPIRED, Outcome.UNACKNOWLEDGED})
_TIMEOUT_S: Final = 30.0
# The stream of a live market is trimmed long before it reaches this length.
_LONGEST_DAYS: Final = 31
LONGEST_MS: Final = _LONGEST_DAYS * 86_400_000
_STATES: Final = frozenset({"", *JobState})


_NoneOrId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{0,64}$(?!\n)")]


class RecordedJob(msgspec.Struct, frozen=True):
    """The need of a job. `refused_by`: the drivers whose offers ended without an acceptance."""

    id: Id
    mall: Id
    stores: Annotated[tuple[Id, ...], msgspec.Meta(min_length=1)]
    lat: Lat
    lon: Lon
    created_ms: EpochMs
    ready_ms: EpochMs
    deadline_ms: EpochMs
    expires_ms: EpochMs
    refused_by: tuple[Id, ...] = ()


class RecordedEvent(msgspec.Struct, frozen=True):
    """One entry of the stream.

    For `kind` ``job``, `was` and `became` are its states; for ``driver``, `what` is its event.
    """

    at: EpochMs
    kind: str
    job: _NoneOrId = ""
    driver: _NoneOrId = ""
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
    """Read a market's stream and its stored jobs, writing nothing. Raises `StoreUnavailable`."""
    keys = MarketKeys(market)
    try:
        link = Store(url).link(
            name="mallard-record", deadline_s=_TIMEOUT_S, silence_s=_TIMEOUT_S, master_only=False
        )
        try:
            await link.connect()
            events = [event async for event in _events(link, keys)]
            jobs = await _jobs(link, keys, events)
        finally:
            await link.close()
    except (LinkReplyError, OSError, ValueError) as error:
        raise StoreUnavailable(str(error)) from error
    return Recording(market, jobs, events)


async def _jobs(
    link: StoreLink, keys: MarketKeys, events: Sequence[RecordedEvent]
) -> Mapping[str, RecordedJob]:
    names = list(dict.fromkeys(event.job for event in events if event.kind == "job"))
    jobs: dict[str, RecordedJob] = {}
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        stored = await asyncio.gather(*(link.call("HGETALL", keys.job(name)) for name in some))
        jobs |= {name: _job(flat) for name, flat in zip(some, stored, strict=True) if flat}
    return jobs


async def _events(link: StoreLink, keys: MarketKeys) -> AsyncIterator[RecordedEvent]:
    cursor = "-"
    while True:
        entries = await link.call("XRANGE", keys.key("events"), cursor, "+", "COUNT", _AT_ONCE)
        for _, fields in entries:
            event = msgspec.msgpack.decode(fields[1], strict=False)
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


def _job(flat: Sequence[bytes]) -> RecordedJob:
    job = read_job(flat)
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
        tuple(turn.driver for turn in job.asked if turn.outcome in REFUSALS),
    )


def write_recording(recording: Recording, path: Path) -> None:
    """Replace the file atomically, readable by its owner only. Raises `OSError`."""
    lines = (json.dumps(line) + "\n" for line in _lines(recording))
    if path.exists() and not path.is_file():  # a pipe or a device has no mode to set
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        return
    target = path.resolve()
    draft = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _lines(recording: Recording) -> Iterable[Mapping[str, Any]]:
    yield {
        "format": _FORMAT,
        "market": recording.market,
        "jobs": len(recording.jobs),
        "events": len(recording.events),
    }
    for job in recording.jobs.values():
        yield {"job": msgspec.to_builtins(job)}
    for event in recording.events:
        yield {"event": msgspec.to_builtins(event)}


class _Header(msgspec.Struct, frozen=True):
    """The first line. `jobs` and `events` are numbers of lines; older files have neither."""

    format: Literal["mallard recording 1"]
    market: Id
    jobs: int | None = None
    events: int | None = None


class _Line(msgspec.Struct, frozen=True):
    job: RecordedJob | None = None
    event: RecordedEvent | None = None


_HEADER: Final = msgspec.json.Decoder(_Header)
_LINE: Final = msgspec.json.Decoder(_Line)


def read_recording(path: Path) -> Recording:
    """Read a recording. Raises `InputError` for an invalid line."""
    lines = numbered_lines(read_text(path))
    number, first = next(lines, (0, ""))
    if not number:
        raise InputError(f"{path}: there is no job in it")
    try:
        header = _HEADER.decode(first)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}, line {number}: not a recording ({_FORMAT}): {error}") from error
    jobs: dict[str, RecordedJob] = {}
    events: list[RecordedEvent] = []
    places: dict[str, str] = {}
    for number, text in lines:
        where = f"{path}, line {number}"
        line = _read_line(text, where)
        if line.job is not None:
            if line.job.id in jobs:
                raise InputError(f"{where}: job.id: {line.job.id} is in the file already")
            jobs[line.job.id] = line.job
            places[line.job.id] = where
        elif line.event is not None:
            _check_span(line.event, events, where)
            events.append(line.event)
    for name, said, found in (("jobs", header.jobs, jobs), ("events", header.events, events)):
        if said not in {None, len(found)}:
            raise InputError(f"{path}: cut short: {len(found)} {name}, and its head says {said}")
    if not jobs:
        raise InputError(f"{path}: there is no job in it")
    for job in jobs.values():
        if events and abs(job.created_ms - events[0].at) > LONGEST_MS:
            raise InputError(
                f"{places[job.id]}: job.created_ms: further than {_LONGEST_DAYS} d from the events"
            )
    return Recording(header.market, jobs, events)


def _read_line(text: str, where: str) -> _Line:
    try:
        line = _LINE.decode(text)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InputError(f"{where}: {error}") from error
    if (line.job is None) == (line.event is None):
        raise InputError(f"{where}: neither one job nor one event")
    if line.job is not None:
        _check_times(line.job, where)
    return line


def _check_times(job: RecordedJob, where: str) -> None:
    """Reject times with which the replay would run for years."""
    if job.expires_ms < job.created_ms:
        raise InputError(f"{where}: job.expires_ms: before created_ms")
    if abs(job.ready_ms - job.created_ms) > LONGEST_MS:
        raise InputError(f"{where}: job.ready_ms: further than {_LONGEST_DAYS} d from created_ms")


def _check_span(event: RecordedEvent, before: Sequence[RecordedEvent], where: str) -> None:
    if before and abs(event.at - before[0].at) > LONGEST_MS:
        raise InputError(f"{where}: event.at: further than {_LONGEST_DAYS} d from the first event")
    if event.kind == "job" and not {event.was, event.became} <= _STATES:
        raise InputError(f"{where}: event.became: not a job's state")
