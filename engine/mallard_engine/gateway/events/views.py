"""What a reader sees of a market's events: operators all of them, a service those of its jobs.

A job is read when its event is delivered, so that `data` is the job as `GET` shows it then. What
the event itself is about (state, attempt, driver, expected times, cause, actor) is the event's.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from msgspec import UNSET, structs

from mallard_engine.contract.events import OPERATORS_ONLY
from mallard_engine.core import model
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.http.driver_names import IDS, DriverNames, aliases_for, drivers_of
from mallard_engine.gateway.http.views.jobs import closed_stores, held_view, job_view
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.gateway.transfers import open_transfer
from mallard_engine.ports import NoSuchJob, Storage
from mallard_protocol import resources
from mallard_protocol.events import Event, EventType
from mallard_protocol.lifecycle import TERMINAL, JobState

_WAITING: Final = frozenset({JobState.QUEUED, JobState.SCHEDULED})
# What an entry says about itself, and what concerns the engine alone.
_INNER_FIELDS: Final = frozenset(
    {"kind", "what", "at", "service", "etas", "occurred_ms", "epoch", "node"}
    | {"wish", "was", "again"}
)


class Reader(NamedTuple):
    """Who reads: the service whose jobs it may read; None: an operator."""

    service: str | None

    def may_read(self, event: MarketEvent) -> bool:
        """Whether the reader may see an entry; False too if no reader may."""
        kind = event.type
        if kind is None or self.service is None:
            return kind is not None
        if kind is EventType.MARKET_REWOUND:
            return True
        return kind not in OPERATORS_ONLY and event.service == self.service


OPERATOR: Final = Reader(None)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The jobs of some events as they are now; a job that is gone is missing."""

    jobs: Mapping[str, model.Job]
    transfers: Mapping[str, model.Job]
    holds: Mapping[str, model.StoreHold]
    now_ms: int
    public_url: str = ""


class EventViews:
    """Makes the events of the contract from the entries of a market's stream.

    Links in them start with `public_url`.
    """

    def __init__(self, store: Storage, public_url: str = "") -> None:
        self._store = store
        self._public_url = public_url

    async def public(self, events: Sequence[MarketEvent], reader: Reader) -> list[Event]:
        """Return the events of one market that a reader may see, as it sees them, in order.

        Raises:
            StoreUnavailable: the jobs could not be read.
        """
        own = [event for event in events if reader.may_read(event)]
        return await self.shown(own, await self.load(own), reader) if own else []

    async def load(self, events: Sequence[MarketEvent]) -> Loaded:
        """Read the jobs of some events of one market, each once.

        Raises:
            StoreUnavailable: they could not be read.
        """
        names = dict.fromkeys(event.job for event in events if _is_of_a_job(event))
        jobs = {job.id: job for job in await asyncio.gather(*map(self._job, names)) if job}
        carried = [job for job in jobs.values() if job.transfer_job]
        transfers = await asyncio.gather(*(open_transfer(self._store, job) for job in carried))
        holds: Mapping[str, model.StoreHold] = {}
        if any(not job.terminal for job in jobs.values()):
            holds = await self._store.jobs.holds(events[0].market)
        return Loaded(
            jobs,
            {job.id: it for job, it in zip(carried, transfers, strict=True) if it},
            holds,
            self._store.now_ms(),
            self._public_url,
        )

    async def shown(
        self, events: Sequence[MarketEvent], loaded: Loaded, reader: Reader
    ) -> list[Event]:
        """Return loaded events, all of which the reader may see, as it sees them.

        Raises:
            StoreUnavailable: the names of drivers could not be read.
        """
        names = await self._names(events, loaded, reader)
        shown = (_event(event, loaded, names, reader) for event in events)
        return [event for event in shown if event is not None]

    async def _job(self, job: str) -> model.Job | None:
        try:
            return await self._store.jobs.get(job)
        except NoSuchJob:
            return None

    async def _names(
        self, events: Iterable[MarketEvent], loaded: Loaded, reader: Reader
    ) -> DriverNames:
        if reader.service is None:
            return IDS
        drivers: defaultdict[str, set[str]] = defaultdict(set)
        for event in events:
            job = loaded.jobs.get(event.job)
            shown = [it for it in (job, loaded.transfers.get(event.job)) if it]
            named = drivers[event.market]
            named.update(*map(drivers_of, shown))
            named.update(drivers_of(job, _change(event)) if job else ())
            named.update([event.driver] if event.driver else ())
        return await aliases_for(reader.service, self._store, drivers)


def _is_of_a_job(event: MarketEvent) -> bool:
    """Whether its data is the job's. A move says where the driver is, and no more."""
    kind = event.type or ""
    return bool(event.job) and kind.startswith("job.") and kind != EventType.DRIVER_MOVED


def _event(event: MarketEvent, loaded: Loaded, names: DriverNames, reader: Reader) -> Event | None:
    kind = event.type
    if kind is None:
        return None
    job = loaded.jobs.get(event.job)
    if job is not None and job.kind == model.TRANSFER and reader.service is not None:
        return None  # an internal job: readers see the jobs that it carries
    if kind is EventType.DRIVER_MOVED:
        data = _position(event)
    elif not _is_of_a_job(event):
        data = _plain(event)
    elif job is None:
        data = {"id": event.job, "market": event.market} | _of_the_event(event, None, names)
    else:
        data = _job_data(event, job, loaded, names, with_code=reader.service is None)
    return Event(
        id=event.id,
        sequence=event.sequence,
        type=kind.value,
        occurred_at=Moment.at_ms(event.occurred_ms),
        recorded_at=Moment.at_ms(event.at_ms),
        market=event.market,
        data=data,
        job=event.job or UNSET,
        driver=names.of(event.market, event.driver) if event.driver else UNSET,
    )


def _job_data(
    event: MarketEvent, job: model.Job, loaded: Loaded, names: DriverNames, *, with_code: bool
) -> dict[str, Any]:
    held = None
    if job.state in _WAITING:
        held = held_view(job.need, job.mall, loaded.holds, loaded.now_ms)
    closed = closed_stores(job.need, job.mall, loaded.holds, loaded.now_ms)
    view = job_view(
        job,
        names,
        held,
        loaded.transfers.get(job.id),
        with_code=with_code,
        with_timeline=False,
        closed=frozenset() if job.terminal else closed,
        public_url=loaded.public_url,
    )
    data = {name: value for name, value in structs.asdict(view).items() if value is not UNSET}
    del data["timeline"]
    return data | _of_the_event(event, job, names)


def _of_the_event(event: MarketEvent, job: model.Job | None, names: DriverNames) -> dict[str, Any]:
    """Return what is the event's own; what an entry of an older engine lacks is the job's."""
    own: dict[str, Any] = {"cause": event.cause}
    own["actor"] = names.actor(job, _change(event)) if job else event.actor
    if (state := event.state) is not None:
        own |= {"state": state, "terminal": state in TERMINAL}
    if "attempt" in event.fields:
        own["attempt"] = event.fields["attempt"]
    if "driver" in event.fields:
        own["driver"] = names.of(event.market, event.driver) if event.driver else None
    if (etas := event.etas_ms) is not None:
        own["eta"] = _eta(etas)
    return own


def _position(event: MarketEvent) -> dict[str, Any]:
    fields = event.fields
    return {
        "lat": fields["lat"],
        "lon": fields["lon"],
        "heading_deg": fields.get("heading_deg"),
        "at": Moment.at_ms(event.occurred_ms),
        "eta": _eta(event.etas_ms or (None, None)),
    }


def _eta(etas_ms: tuple[int | None, int | None]) -> resources.Eta:
    return resources.Eta(*(None if at is None else Moment.at_ms(at) for at in etas_ms))


def _change(event: MarketEvent) -> model.TimelineEntry:
    """Return the event as an entry of the job's timeline, which names its actor."""
    state = event.state or JobState.QUEUED
    return model.TimelineEntry(state, event.at_ms, event.actor, event.cause, event.occurred_ms)


def _plain(event: MarketEvent) -> dict[str, Any]:
    """Return the fields of an entry that is of no job; times as the HTTP API writes them."""
    data: dict[str, Any] = {"kind": event.what} if event.kind in {"alert", "problem"} else {}
    for name, value in event.fields.items():
        if name in _INNER_FIELDS or value in ("", None):
            continue
        is_time = name.endswith("_ms")
        data[name.removesuffix("_ms")] = Moment.at_ms(int(value)) if is_time else value
    return data
