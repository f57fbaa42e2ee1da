"""Records of jobs, as a round and as a client reads them."""

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from mallard_engine.core.model import (
    Asked,
    Cancelled,
    GivenProof,
    GivenReason,
    Job,
    JobHold,
    Need,
    ProblemAnswer,
    ReportedProblem,
    ReturnPlace,
    Shop,
    Submission,
    TimelineEntry,
    Waiting,
)
from mallard_engine.logs import RateLimitedLog
from mallard_engine.storage.records.packed_jobs import fields_of
from mallard_engine.storage.records.packing import NO_ENTRIES, content_of
from mallard_protocol.lifecycle import JobState, Risk

# A page that holds an unreadable record logs it at each request.
_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=3_600.0)


class _AskedRecord(msgspec.Struct, array_like=True, gc=False):
    driver: str
    attempt: int
    outcome: str
    at_ms: int


class _TimelineRecord(msgspec.Struct, array_like=True, gc=False):
    state: str
    at_ms: int
    actor: str
    cause: str


class _DoorRecord(msgspec.Struct):
    at: int


class _WaitingRecord(msgspec.Struct, array_like=True):
    attempt: int
    need: msgspec.Raw
    asked: msgspec.Raw
    card: msgspec.Raw
    mall: str


_need = msgspec.msgpack.Decoder(Need).decode
_asked = msgspec.msgpack.Decoder(list[_AskedRecord]).decode
_timeline = msgspec.msgpack.Decoder(list[_TimelineRecord]).decode
_proofs = msgspec.msgpack.Decoder(tuple[GivenProof, ...]).decode
_problems = msgspec.msgpack.Decoder(tuple[ReportedProblem, ...]).decode
_shops = msgspec.msgpack.Decoder(tuple[Shop, ...]).decode
_hold = msgspec.msgpack.Decoder(JobHold).decode
_reasons = msgspec.msgpack.Decoder(tuple[GivenReason, ...]).decode
_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_door = msgspec.msgpack.Decoder(_DoorRecord).decode
_return_place = msgspec.msgpack.Decoder(ReturnPlace).decode
_problem_answer = msgspec.msgpack.Decoder(ProblemAnswer).decode
_times = msgspec.msgpack.Decoder(list[int]).decode
_waiting = msgspec.msgpack.Decoder(_WaitingRecord).decode


def read_need(packed: bytes) -> Need:
    """Read what a round must know about a job."""
    return _need(packed)


def read_waiting(job: str, packed: bytes) -> Waiting:
    """Read a queued job as ``candidates`` returns it."""
    return read_market_waiting(job, packed)[1]


def causes_of(packed_timeline: bytes) -> list[str]:
    """Read the causes of a job's changes, oldest first."""
    return [entry.cause for entry in _timeline(packed_timeline)]


def read_market_waiting(job: str, packed: bytes) -> tuple[str, Waiting]:
    """Read a queued job and its mall, for a round of the whole market."""
    record = _waiting(packed)
    return record.mall, Waiting(
        job,
        record.attempt,
        _need(content_of(record.need)),
        _read_asked(content_of(record.asked)),
        content_of(record.card),
    )


def _read_asked(packed: bytes) -> tuple[Asked, ...]:
    return tuple(
        Asked(turn.driver, turn.attempt, turn.outcome, turn.at_ms) for turn in _asked(packed)
    )


def _read_timeline(packed: bytes, packed_times: bytes) -> tuple[TimelineEntry, ...]:
    """Read the entries and when they occurred: entries of schema 1 occurred when recorded."""
    entries = _timeline(packed)
    occurred = _times(packed_times)
    occurred += [entry.at_ms for entry in entries[len(occurred) :]]
    return tuple(
        TimelineEntry(entry.state, entry.at_ms, entry.actor, entry.cause, occurred_ms)
        for entry, occurred_ms in zip(entries, occurred, strict=False)
    )


def read_job(flat: Sequence[bytes]) -> Job:
    """Read a job's hash, packed or not, as HGETALL returns it: names and values alternate.

    A field that the version that wrote the job did not know is empty or 0; one that this version
    does not know is ignored.
    """
    fields = fields_of(flat)

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode()

    def number(name: bytes) -> int:
        return int(fields.get(name) or 0)

    return Job(
        id=text(b"id"),
        market=text(b"market"),
        service=text(b"service"),
        mall=text(b"mall"),
        state=JobState(text(b"state")),
        attempt=number(b"attempt"),
        driver=text(b"driver") or None,
        offer=text(b"offer") or None,
        reason=text(b"reason") or None,
        created_ms=number(b"created_ms"),
        updated_ms=number(b"updated_ms"),
        expires_ms=number(b"expires_ms"),
        deadline_ms=number(b"deadline_ms"),
        release_ms=number(b"release_ms"),
        priority=number(b"priority"),
        external_id=text(b"external_id") or None,
        body=fields[b"body"],
        card=fields[b"card"],
        need=_need(fields[b"need"]),
        eta_pickup_ms=number(b"eta_pickup_ms") or None,
        eta_dropoff_ms=number(b"eta_dropoff_ms") or None,
        promised_ms=number(b"promised_ms") or None,
        timeline=_read_timeline(
            fields.get(b"timeline", NO_ENTRIES), fields.get(b"occurred", NO_ENTRIES)
        ),
        asked=_read_asked(fields.get(b"asked", NO_ENTRIES)),
        proofs=_proofs(fields.get(b"proofs", NO_ENTRIES)),
        problems=_problems(fields.get(b"problems", NO_ENTRIES)),
        reasons=_reasons(fields.get(b"reasons", NO_ENTRIES)),
        shops=_shops(fields.get(b"shops", NO_ENTRIES)),
        hold=_hold(fields[b"held"]) if b"held" in fields else None,
        handover_key=text(b"handover_key"),
        tracking=text(b"tracking"),
        transfer=text(b"transfer"),
        kind=text(b"kind"),
        first=text(b"first"),
        carries=_carried(fields),
        code=text(b"code"),
        raised_pay_minor=number(b"pay_minor") or None,
        risk=Risk(text(b"risk") or Risk.NONE),
        delivery_attempts=number(b"delivery_attempts"),
        is_left=text(b"leave") == "1",
        door_ms=_door(door).at if (door := fields.get(b"door")) else None,
        answer=_problem_answer(answer) if (answer := fields.get(b"answer")) else None,
        return_to=_return_place(place) if (place := fields.get(b"return_to")) else None,
        return_code=text(b"return_code"),
        cancel_requested=text(b"cancel_requested") == "1",
        cancelled=Cancelled(
            by=text(b"cancelled_by"),
            reason=text(b"cancel_reason"),
            note=text(b"cancel_note"),
            stage=text(b"cancel_stage"),
        )
        if b"cancelled_by" in fields
        else None,
        redelivery_of=text(b"redelivery_of") or None,
        redelivered_as=text(b"redelivered_as") or None,
        is_erased=b"erased_ms" in fields,
    )


def _carried(fields: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Return what a transfer carries, without what has left it."""
    gone = _names(fields.get(b"gone", NO_ENTRIES))
    return tuple(job for job in _names(fields.get(b"carries", NO_ENTRIES)) if job not in gone)


def readable_job(job: str, flat: Sequence[bytes]) -> Job | None:
    """Return the job; None if it is gone or, with a log line, if its record cannot be read."""
    try:
        return read_job(flat) if flat else None
    except (KeyError, ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
        _often.error("record cannot be read", job=job, error=repr(error))
        return None


def job_of(submission: Submission, now_ms: int) -> Job:
    """Return the job that a submission has created, without reading it back."""
    return Job(
        id=submission.job,
        market=submission.market,
        service=submission.service,
        mall=submission.mall,
        state=submission.state,
        attempt=0,
        driver=None,
        offer=None,
        reason=None,
        created_ms=now_ms,
        updated_ms=now_ms,
        expires_ms=submission.need.expires_ms,
        deadline_ms=submission.need.deadline_ms,
        release_ms=submission.release_ms,
        priority=submission.need.priority,
        external_id=submission.external_id,
        body=submission.body,
        card=submission.card,
        need=submission.need,
        eta_pickup_ms=None,
        eta_dropoff_ms=None,
        timeline=(
            TimelineEntry(submission.state, now_ms, submission.service, "submitted", now_ms),
        ),
        asked=(),
        handover_key=submission.handover_key,
        tracking=submission.tracking,
        redelivery_of=submission.redelivery_of,
    )
