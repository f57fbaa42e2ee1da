"""Conversion between the packed records of the scripts and the core's data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
import structlog

from mallard_engine.core.model import (
    Asked,
    Cancelled,
    Driver,
    GivenProof,
    GivenReason,
    Job,
    JobHold,
    LiveOffer,
    Need,
    OfferedJob,
    Position,
    ReportedProblem,
    ReturnPlace,
    RoundRecord,
    Shop,
    StoreHold,
    Submission,
    TimelineEntry,
    ToldAnswer,
    Waiting,
)
from mallard_engine.core.pauses import Pause, Pauses
from mallard_engine.core.vehicles import DriverProfile
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import Effects, Freed, LateJob, Push, PushKind
from mallard_protocol.lifecycle import JobState, Risk

pack = msgspec.msgpack.Encoder().encode
# A page that holds an unreadable record logs it at each request.
_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=3_600.0)


# Nodes of two versions share a storage during a deployment, so no record has a fixed length:
# elements that a later version appended are ignored, and missing ones have a default. See
# `docs/howto/upgrade.md` for the rules of a schema change.
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


_driver = msgspec.msgpack.Decoder(Driver).decode
_profile = msgspec.msgpack.Decoder(DriverProfile).decode
_need = msgspec.msgpack.Decoder(Need).decode
read_pause = msgspec.msgpack.Decoder(Pause).decode
_round = msgspec.msgpack.Decoder(RoundRecord).decode
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
_told_answer = msgspec.msgpack.Decoder(ToldAnswer).decode
_times = msgspec.msgpack.Decoder(list[int]).decode
# {received, at, lat, lon, acc, …}: see lib/positions.lua for the rest.
_position = msgspec.msgpack.Decoder(list[float]).decode
# Lua packs any bytes as a MessagePack string, so packed values are not decoded as UTF-8 here.
_cards = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_waiting = msgspec.msgpack.Decoder(_WaitingRecord).decode


class _Effects(msgspec.Struct):
    now: int
    malls: list[str]
    queued: list[tuple[str, str]]
    freed: list[Freed]
    due: list[tuple[str, int]]
    over: list[str]
    late: list[LateJob] = []
    event: str = ""
    alerts: list[str] = []
    hand_overs: list[tuple[str, str]] = []
    shops: list[tuple[str, str]] = []


class OfferedJobRecord(msgspec.Struct):
    """A job of an offer as stored. Its times are those of the offer."""

    job: str
    attempt: int
    eta_pickup_ms: int = 0
    eta_dropoff_ms: int = 0
    pay_minor: int | None = None
    done: tuple[str, ...] = ()


class OfferRecord(msgspec.Struct):
    """An offer as stored. ``state``: ``live``, or how it ended."""

    offer: str
    driver: str
    mall: str
    gate: str
    attempt: int
    jobs: list[OfferedJobRecord]
    eta_s: int
    distance_m: int
    eta_pickup_ms: int
    eta_dropoff_ms: int
    expires_ms: int
    ack_by_ms: int
    state: str
    add_on: bool = False
    # One of several live offers of its job: see `RoundOfOffers`.
    staggered: bool = False

    def live(self, cards: Iterable[bytes]) -> LiveOffer:
        """Return the offer with the cards of its jobs."""
        return LiveOffer(
            offer=self.offer,
            driver=self.driver,
            mall=self.mall,
            gate=self.gate,
            attempt=self.attempt,
            jobs=tuple(
                OfferedJob(
                    job.job,
                    job.attempt,
                    card,
                    job.eta_pickup_ms or self.eta_pickup_ms,
                    job.eta_dropoff_ms or self.eta_dropoff_ms,
                    job.pay_minor,
                    job.done,
                )
                for job, card in zip(self.jobs, cards, strict=True)
            ),
            eta_s=self.eta_s,
            distance_m=self.distance_m,
            eta_pickup_ms=self.eta_pickup_ms,
            eta_dropoff_ms=self.eta_dropoff_ms,
            expires_ms=self.expires_ms,
            ack_by_ms=self.ack_by_ms,
            add_on=self.add_on,
        )


class RoundOfOffers(msgspec.Struct):
    """A staggered round as stored with its job.

    ``live``: its live offers. ``asked``: how many drivers have got an offer; ``most``: how many
    may. ``rest``: the rest of the ranking.
    """

    live: list[str]
    asked: int
    most: int
    gap_ms: int
    next_ms: int
    rest: list[msgspec.Raw]

    @property
    def asks_more(self) -> bool:
        """Whether the job may be offered to another driver."""
        return self.asked < self.most and bool(self.rest)


class _PushBody(msgspec.Struct):
    driver: str
    seq: int
    kind: str
    offer: OfferRecord | None = None
    offer_id: str = ""
    why: str = ""
    job: str = ""
    attempt: int = 0
    state: str = ""
    reason: str = ""
    mall: str = ""
    epoch: int = 0
    driver_state: str = ""
    until_ms: int | None = None
    answer: ToldAnswer | None = None


_PUSH_KINDS = {kind.value: kind for kind in PushKind}
_effects = msgspec.msgpack.Decoder(_Effects).decode
_push = msgspec.msgpack.Decoder(_PushBody).decode
_offer = msgspec.msgpack.Decoder(OfferRecord).decode
_round_of_offers = msgspec.msgpack.Decoder(RoundOfOffers).decode

_NO_ENTRIES = pack([])
_STR_HEADS = {0xD9: 2, 0xDA: 3, 0xDB: 5, 0xC4: 2, 0xC5: 3, 0xC6: 5}


def _content(raw: msgspec.Raw) -> bytes:
    """Return the content of a packed string."""
    packed = memoryview(raw)
    return bytes(packed[_STR_HEADS.get(packed[0], 1) :])


def read_push(body: bytes, card: bytes) -> Push:
    """Read a push of the stream. The cards of a run are packed in a list."""
    push = _push(body)
    cards = [card]
    if push.offer and len(push.offer.jobs) > 1:
        cards = [_content(each) for each in _cards(card)]
    return Push(
        driver=push.driver,
        seq=push.seq,
        kind=_PUSH_KINDS.get(push.kind, PushKind.UNKNOWN),
        offer=push.offer.live(cards) if push.offer else None,
        offer_id=push.offer_id,
        why=push.why,
        job=push.job,
        attempt=push.attempt,
        state=push.state,
        reason=push.reason,
        mall=push.mall,
        epoch=push.epoch,
        driver_state=push.driver_state,
        until_ms=push.until_ms,
        answer=push.answer,
    )


def read_effects(packed: bytes, pushes: Sequence[bytes]) -> Effects:
    """Read a transition's effects; ``pushes`` holds bodies and cards in turn."""
    effects = _effects(packed)
    return Effects(
        now_ms=effects.now,
        pushes=tuple(map(read_push, pushes[::2], pushes[1::2])),
        malls=tuple(dict.fromkeys(effects.malls)),
        queued=tuple(effects.queued),
        freed=tuple(effects.freed),
        due=tuple(effects.due),
        over=tuple(effects.over),
        late=tuple(effects.late),
        event=effects.event,
        alerts=tuple(effects.alerts),
        hand_overs=tuple(effects.hand_overs),
        shops=tuple(effects.shops),
    )


def read_driver(packed: bytes, position: Position | None = None) -> Driver:
    """Read a driver's record."""
    driver = _driver(packed)
    return replace(driver, position=position) if position else driver


def read_profile(packed: bytes) -> DriverProfile:
    """Read a driver's entry in the register."""
    return _profile(packed)


def as_string(content: bytes) -> msgspec.Raw:
    """Pack fewer than 65,536 bytes as a string: the scripts' MessagePack has no bytes."""
    return msgspec.Raw(b"\xda" + len(content).to_bytes(2) + content)


def read_stored_position(packed: bytes) -> list[float]:
    """Read the stored fixes of a driver; lib/positions.lua defines their order."""
    return _position(packed)


def read_position(packed: bytes | None) -> Position | None:
    """Read the last accepted fix; None if there is none."""
    if packed is None:
        return None
    received_ms, at_ms, lat, lon, acc_m, *_ = _position(packed)
    return Position(lat, lon, acc_m, int(at_ms), int(received_ms)) if received_ms else None


def read_offer(packed: bytes) -> OfferRecord:
    """Read an offer, live or ended."""
    return _offer(packed)


def read_round_of_offers(packed: bytes) -> RoundOfOffers:
    """Read a staggered round."""
    return _round_of_offers(packed)


def read_round(packed: bytes) -> RoundRecord:
    """Read a stored round."""
    return _round(packed)


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
        _need(_content(record.need)),
        _read_asked(_content(record.asked)),
        _content(record.card),
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


_CLOSED = "closed/"
_WORD = "word/"


def read_pauses(fields: Mapping[bytes, bytes]) -> Pauses:
    """Read where matching is paused, by place."""
    return {place.decode(): read_pause(packed) for place, packed in fields.items()}


def read_holds(flat: Sequence[bytes]) -> dict[str, StoreHold]:
    """Read the held stores, by mall/store, as HGETALL gives them: until when, and why.

    A second field of each store, with `closed/` before its name, is 1 if the store is closed; a
    third, with `word/`, is until when the shop itself has said so.
    """
    fields = {
        name.decode(): int(float(value)) for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
    return {
        store: StoreHold(
            until_ms,
            "store_closed" if fields.get(_CLOSED + store) else "not_ready",
            fields.get(_WORD + store, 0),
        )
        for store, until_ms in fields.items()
        if not store.startswith((_CLOSED, _WORD))
    }


def read_job(flat: Sequence[bytes]) -> Job:
    """Read a job's hash, as HGETALL returns it: names and values alternate.

    A field that the version that wrote the job did not know is empty or 0; one that this version
    does not know is ignored.
    """
    fields = dict(zip(flat[::2], flat[1::2], strict=True))

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
            fields.get(b"timeline", _NO_ENTRIES), fields.get(b"occurred", _NO_ENTRIES)
        ),
        asked=_read_asked(fields.get(b"asked", _NO_ENTRIES)),
        proofs=_proofs(fields.get(b"proofs", _NO_ENTRIES)),
        problems=_problems(fields.get(b"problems", _NO_ENTRIES)),
        reasons=_reasons(fields.get(b"reasons", _NO_ENTRIES)),
        shops=_shops(fields.get(b"shops", _NO_ENTRIES)),
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
        answer=_told_answer(told) if (told := fields.get(b"answer")) else None,
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
    gone = _names(fields.get(b"gone", _NO_ENTRIES))
    return tuple(job for job in _names(fields.get(b"carries", _NO_ENTRIES)) if job not in gone)


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
