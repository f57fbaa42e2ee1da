"""Reads a day of a market from the files of `mallard archive`.

The archive has jobs and their events, and nothing of drivers without one: a driver is taken to work
from the first event of the day to the last. The last line of a job counts, with the events of all
its lines.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from mallard_engine.archive.segments import FORMAT, segments_of
from mallard_engine.input_files import InputError
from mallard_engine.simulation.recordings.recording import (
    LONGEST_MS,
    REFUSALS,
    RecordedEvent,
    RecordedJob,
    Recording,
)
from mallard_protocol.events import EventType
from mallard_protocol.fields import Id, Lat, Lon

_HEAD: Final = f'{{"format":"{FORMAT}"'.encode()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
# Events that are no change of a job's state.
_NO_CHANGES: Final = frozenset(
    {EventType.COLLECTED, EventType.ATTEMPTED, EventType.TRANSFER_STARTED, EventType.RISK_CHANGED}
    | {EventType.ETA_CHANGED, EventType.UPDATED, EventType.DRIVER_MOVED, EventType.PROOF}
    | {EventType.PROBLEM, EventType.PROBLEM_RESOLVED}
)
_CHANGES: Final = frozenset(it for it in EventType if it.startswith("job.")) - _NO_CHANGES


class _Need(msgspec.Struct, frozen=True):
    stores: Annotated[tuple[Id, ...], msgspec.Meta(min_length=1)]
    lat: Lat
    lon: Lon
    ready_at: _AwareTime
    deadline: _AwareTime
    expires_at: _AwareTime


class _Attempt(msgspec.Struct, frozen=True):
    driver: Id
    outcome: str


class _Event(msgspec.Struct, frozen=True):
    sequence: int
    type: str
    recorded_at: _AwareTime
    cause: str = ""
    state: str = ""
    was: str = ""
    driver: str = ""


class _Job(msgspec.Struct, frozen=True):
    format: Literal["mallard archive 1"]
    id: Id
    market: Id
    mall: Id
    created_at: _AwareTime
    need: _Need
    attempts: tuple[_Attempt, ...]
    events: tuple[_Event, ...]


_JOB: Final = msgspec.json.Decoder(_Job)


def is_archive(path: Path) -> bool:
    """Whether the path is the folder of an archive, or one of its files."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


def read_archive(path: Path, market: str | None, day: date | None) -> Recording:
    """Read the jobs that were submitted on a day (UTC), or all.

    Raises:
        InputError: A file cannot be read, or the jobs are of several markets or too many days.
    """
    jobs: dict[str, _Job] = {}
    events: dict[tuple[str, int], _Event] = {}
    for where, job in _jobs(path):
        if day is not None and job.created_at.astimezone(UTC).date() != day:
            continue
        if job.market != (market or job.market):
            continue
        if market is None and jobs and job.market != next(iter(jobs.values())).market:
            raise InputError(f"{where}: jobs of several markets: name one with --market")
        jobs[job.id] = job
        events |= {(job.id, it.sequence): it for it in job.events if it.type in _CHANGES}
    if not jobs:
        raise InputError(f"{path}: there is no job in it{f' of {day}' if day else ''}")
    ordered = sorted(events.items(), key=lambda item: item[0][1])
    times = [_ms(it.recorded_at) for it in events.values()]
    times += [_ms(it.created_at) for it in jobs.values()]
    if max(times) - min(times) > LONGEST_MS:
        raise InputError(f"{path}: its jobs are of more than 31 days: choose one with --day")
    return Recording(
        next(iter(jobs.values())).market,
        {name: _recorded(job) for name, job in jobs.items()},
        [
            RecordedEvent(
                at=_ms(it.recorded_at),
                kind="job",
                job=job,
                driver=it.driver,
                was=it.was,
                became=it.state,
                cause=it.cause,
            )
            for (job, _), it in ordered
        ],
    )


def _jobs(path: Path) -> Iterator[tuple[str, _Job]]:
    """Yield each line with its place. A last line without an end is still being written."""
    try:
        files = segments_of(path) if path.is_dir() else [path]
        for file in files:
            with file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.endswith(b"\n"):
                        where = f"{file}, line {number}"
                        yield where, _read(line, where)
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror}") from error


def _read(line: bytes, where: str) -> _Job:
    try:
        return _JOB.decode(line)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InputError(f"{where}: {error}") from error


def _recorded(job: _Job) -> RecordedJob:
    need = job.need
    return RecordedJob(
        job.id,
        job.mall,
        need.stores,
        need.lat,
        need.lon,
        _ms(job.created_at),
        _ms(need.ready_at),
        _ms(need.deadline),
        _ms(need.expires_at),
        tuple(it.driver for it in job.attempts if it.outcome in REFUSALS),
    )


def _ms(at: datetime) -> int:
    since = at - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
