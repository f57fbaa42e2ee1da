"""What the archive keeps of a job that has ended.

Jobs are shown as operators see them, without the codes, the PIN and the link of the customer.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from mallard_engine.archive.segments import FORMAT
from mallard_engine.core import model
from mallard_engine.core.event_ids import event_id
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.http.driver_names import IDS
from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_engine.gateway.http.views.jobs import explanation_view, job_view
from mallard_engine.gateway.timestamps import Moment
from mallard_protocol import resources


class ArchivedEvent(Struct, frozen=True, omit_defaults=True):
    """One event of a job. ``was`` and ``state``: its states before and after it."""

    id: str
    sequence: int
    type: str
    occurred_at: datetime
    recorded_at: datetime
    cause: str
    actor: str
    state: str = ""
    was: str = ""
    attempt: int = 0
    driver: str = ""


class ArchivedNeed(Struct, frozen=True):
    """What a replay needs besides the order."""

    stores: tuple[str, ...]
    lat: float
    lon: float
    ready_at: datetime
    deadline: datetime
    expires_at: datetime


class ArchivedJob(Struct, frozen=True, kw_only=True):
    """A job that has ended.

    ``job``: as ``GET`` shows it to operators, with its timeline, proofs and problems. ``attempts``:
    the drivers who got an offer. ``explain``: its last round. ``events``: those that no earlier
    document of the job has. ``digest``: of all but ``archived_at``; equal documents have the same.
    """

    format: Literal["mallard archive 1"] = FORMAT
    id: str
    market: str
    service: str
    mall: str
    external_id: str | None
    state: str
    reason: str | None
    created_at: datetime
    ended_at: datetime
    updated_at: datetime
    redelivered_as: str | None
    job: resources.Job
    attempts: tuple[resources.Asked, ...]
    explain: dict[str, Any]
    need: ArchivedNeed
    events: tuple[ArchivedEvent, ...]
    archived_at: datetime | UnsetType = UNSET
    digest: str | UnsetType = UNSET

    def encode(self) -> bytes:
        """Return the document as JSON, without line breaks."""
        return encode_json(self)


def document_of(
    job: model.Job,
    record: model.RoundRecord | None,
    events: Sequence[MarketEvent],
    now_ms: int,
) -> ArchivedJob:
    """Return what is kept of a job that has ended.

    Args:
        job: The job.
        record: Its last round.
        events: Its events, oldest first.
        now_ms: The time of archiving.
    """
    explained = explanation_view(job, record)
    document = ArchivedJob(
        id=job.id,
        market=job.market,
        service=job.service,
        mall=job.mall,
        external_id=job.external_id,
        state=job.state.value,
        reason=job.reason,
        created_at=Moment.at_ms(job.created_ms),
        ended_at=Moment.at_ms(_ended_ms(job)),
        updated_at=Moment.at_ms(job.updated_ms),
        redelivered_as=job.redelivered_as,
        job=_without_codes(job_view(job, IDS)),
        attempts=explained.asked,
        explain={
            name: value
            for name, value in structs.asdict(explained).items()
            if name not in {"job", "asked"} and value is not UNSET
        },
        need=ArchivedNeed(
            job.need.stores,
            job.need.lat,
            job.need.lon,
            Moment.at_ms(job.need.ready_ms),
            Moment.at_ms(job.need.deadline_ms),
            Moment.at_ms(job.need.expires_ms),
        ),
        events=tuple(map(_event, events)),
    )
    digest = hashlib.sha256(document.encode()).hexdigest()[:32]
    return structs.replace(document, digest=digest, archived_at=Moment.at_ms(now_ms))


def _ended_ms(job: model.Job) -> int:
    """Return when the job entered its last state."""
    same = [it.at_ms for it in job.timeline if it.state == job.state]
    return same[0] if same else job.updated_ms


def _without_codes(job: resources.Job) -> resources.Job:
    stores = tuple(structs.replace(it, pickup_code=UNSET) for it in job.pickup.stores)
    pickup = structs.replace(job.pickup, stores=stores)
    return structs.replace(job, pickup=pickup, code=UNSET, tracking_url=None)


def _event(event: MarketEvent) -> ArchivedEvent:
    kind = event.type
    state = event.state
    return ArchivedEvent(
        id=event_id(event.market, event.place),
        sequence=event.place.sequence,
        type=kind.value if kind else event.kind,
        occurred_at=Moment.at_ms(event.occurred_ms),
        recorded_at=Moment.at_ms(event.at_ms),
        cause=event.cause,
        actor=event.actor,
        state=state.value if state else "",
        was=str(event.fields.get("from") or ""),
        attempt=int(event.fields.get("attempt") or 0),
        driver=event.driver,
    )


class Line(msgspec.Struct, frozen=True):
    """What identifies a line of a file."""

    id: str
    digest: str


read_line = msgspec.json.Decoder(Line).decode
