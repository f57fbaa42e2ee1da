"""State of a driver app that outlives a socket, and what it sends after a reconnect."""

import asyncio
import logging
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from mallard_client.backoff import FullJitter
from mallard_client.driver.clock import Clock, Moment
from mallard_client.driver.connection import Connection
from mallard_client.driver.events import (
    Announcer,
    DriverChanged,
    Event,
    JobsChanged,
    ReportSettled,
    WishRefused,
)
from mallard_client.driver.reporting.fix_sender import FixSender
from mallard_client.driver.reporting.reports import EndedJobs, Report, ReportQueue
from mallard_client.driver.socket import Link, OnReply
from mallard_client.driver.state import DriverView, Push
from mallard_client.driver.state_keeper import Intent, Keeping
from mallard_client.errors import NoAnswer, QueueFull, RequestRefused
from mallard_client.tokens import Sleep
from mallard_client.waiting import outcome_unless
from mallard_protocol.codes import ErrorCode, StateWhy
from mallard_protocol.lifecycle import BEFORE_PICKUP, TIMED_STEPS, DriverState, Step, Wish
from mallard_protocol.messages import (
    App,
    Device,
    Drain,
    Error,
    Hello,
    Offer,
    OfferAck,
    Pace,
    Reply,
    ServerMessage,
    StateChanged,
    Status,
    Vehicle,
    Welcome,
)

_MAX_OFFERS = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppOptions:
    """Options of the app; see `DriverClient`."""

    vehicle: Vehicle | None
    app: App | None
    device: Device | None
    auto_acknowledge: bool
    location_every_ms: int | None
    fix_limit: int


class _Obsolete(Exception):
    """The welcome was for another driver, or an earlier answer came late."""


def _is_final(refusal: RequestRefused) -> bool:
    """Whether a report is over.

    All fixes precede a report that needs one: the driver must move first, and other reports must
    not wait for that.
    """
    return not refusal.retry or refusal.code == ErrorCode.NO_POSITION


class AppSession:
    """A driver's known state, buffers and wanted status, kept up to date across sockets.

    It is the `Session` of its `Connection`. Its three loops run in parallel with the connection's.
    """

    def __init__(
        self,
        options: AppOptions,
        announcer: Announcer,
        keeping: Keeping,
        *,
        clock: Clock,
        rng: random.Random,
        sleep: Sleep,
    ) -> None:
        self.view = DriverView()
        self.reports = ReportQueue()
        self.sender = FixSender(
            options.fix_limit, options.location_every_ms, self._fixes_sent, clock=clock, sleep=sleep
        )
        self.intent: Intent | None = None
        # A driver has one live offer at a time: older ones are over, even if unread.
        self.offers: deque[Offer] = deque(maxlen=_MAX_OFFERS)
        self.turned = asyncio.Event()
        self.clock = clock
        self._options = options
        self._announcer = announcer
        self._keeping = keeping
        self._last_offer: str | None = None
        self._ended = EndedJobs()
        # When each job's last timed step was.
        self._last_timed: dict[str, Moment] = {}
        self._jitter = FullJitter(rng)
        self._sleep = sleep
        # Whether the engine has forgotten the wanted status.
        self._forgotten = False
        self._wish_unsent = asyncio.Event()
        # The app's status that is not answered yet; the event ends what a newer one replaces.
        self._asked: Intent | None = None
        self._replaced = asyncio.Event()
        self._recall()
        self._announced = self._current_state()

    @property
    def offered(self) -> bool:
        """Whether an offer waits for its answer."""
        return self.view.offer is not None and self.offer_is_live(self.view.offer)

    def on_server_ms(self, at_ms: int | None) -> int | UnsetType:
        """A time by the device's clock as the socket carries it: by the server's."""
        return UNSET if at_ms is None else self.clock.on_server(self.clock.at(at_ms))

    def emit(self, event: Event) -> None:
        """Pass an event to the listeners."""
        self._announcer.emit(event)

    def add_report(self, report: Report) -> None:
        """Keep a report until the engine has answered it. Raises `QueueFull`, `ValueError`."""
        report.check(self.clock)
        self.reports.add(report)
        self._keep()

    def happened(self, job: str, step: Step, at_ms: int | None) -> Moment:
        """Return when a step happened. One not later than the last is a repeat to the engine."""
        at = self.clock.happened(at_ms)
        if step in TIMED_STEPS:
            last = self._last_timed.get(job)
            if at_ms is None and last is not None and at.ms <= last.ms:
                at = Moment(last.ms + 1)
            self._last_timed[job] = at
        return at

    def hello(self, token: str) -> Hello:
        """Return the first message: identity and held jobs. All fixes follow the welcome."""
        return Hello(
            token=token,
            now_ms=max(0, self.clock.now_ms()),
            vehicle=self._options.vehicle or UNSET,
            holds=self.view.holds(),
            app=self._options.app or UNSET,
            device=self._options.device or UNSET,
        )

    async def welcomed(self, welcome: Welcome, link: Link) -> None:
        """Apply a welcome, then send the buffered fixes, on which `status` depends.

        If there are many, the rest follows later, so that messages are read meanwhile.
        """
        if self._keeping.belongs_to_another(welcome):
            self._discard_other_driver()
        self.sender.set_pace(welcome.location_ms)
        self.view.apply_welcome(welcome)
        for held in welcome.jobs:
            with suppress(QueueFull):
                for report in self._ended.take_lost(held):
                    self.add_report(report)
        self.emit(welcome)
        self._note_changes()
        if welcome.offer is not None:
            await self._offered(welcome.offer, link)
        await self.sender.welcomed(link)
        self._forgotten = self._must_restate(welcome)
        self._wish_unsent.set()

    async def received(self, message: ServerMessage, link: Link) -> None:
        """Apply a message, pass it to the listeners, acknowledge an offer."""
        if isinstance(message, Push):
            if isinstance(message, Offer):
                self.clock.synchronise(message.server_time_ms)
            if not self.view.apply_push(message):
                return
            if isinstance(message, StateChanged) and message.why == StateWhy.BLOCK_OVER:
                self.intent = None
            if isinstance(message, StateChanged) and message.why == StateWhy.TRANSFER:
                self.intent = Intent(Wish.PAUSED, None)
            self.emit(message)
            self._note_changes()
            if isinstance(message, Offer):
                await self._offered(message, link)
        elif isinstance(message, Pace):
            self.sender.set_pace(message.location_ms)
            self.emit(message)
        elif isinstance(message, Drain) or (isinstance(message, Error) and message.id is None):
            self.emit(message)

    def _fixes_sent(self) -> None:
        self.view.fixes_sent()
        self._note_changes()

    async def send_reports(self, connection: Connection) -> None:
        """Deliver the first report, then the next, over any number of sockets, without end."""
        while True:
            report = await self.reports.first()
            try:
                await self._send_report(connection, report)
            except (NoAnswer, _Obsolete):
                continue
            except RequestRefused as refusal:
                if not _is_final(refusal):
                    await self._sleep(self._jitter.next_s())
                    continue
            self._jitter.reset()

    async def _send_report(self, connection: Connection, report: Report) -> None:
        """Repeat the request until there is an answer.

        A late answer settles the report, too, so that a slow engine does not cause endless repeats.
        """

        def on_reply(reply: Reply) -> None:
            # At the raised attempt, a job that was given up or held is no longer this driver's.
            if reply.attempt is not UNSET and reply.job_state not in BEFORE_PICKUP:
                self.reports.renumber(report.job, report.attempt, reply.attempt)
            self.view.apply_reported(report.job, reply)
            self._ended.note(report, reply)
            if self.reports.is_first(report):
                self._settle(report, reply)

        def on_refusal(refusal: RequestRefused) -> None:
            if _is_final(refusal) and self.reports.is_first(report):
                _log.info("%s of %s was refused: %s", report.step, report.job, refusal)
                self._settle(report, refusal)

        async def prepare(link: Link) -> None:
            if report.step is Step.RETURNED:
                # Its fixes say whether the driver has been at the place.
                await self.sender.flush(link)
            if not self.reports.is_first(report):
                raise _Obsolete

        await connection.request(
            lambda request_id: report.message(request_id, self.clock),
            on_reply,
            before=prepare,
            on_refusal=on_refusal,
        )

    async def restate_wish(self, connection: Connection) -> None:
        """Repeat the wanted status after each absence in which the engine forgot it.

        Not while the app asks for another one: the older one must not overtake it.
        """
        while True:
            await self._wish_unsent.wait()
            self._wish_unsent.clear()
            intent = self.intent
            if intent is None or not self._forgotten or self._asked is not None:
                continue
            if intent.until is not None and self.clock.is_over(intent.until):
                continue
            try:
                await self._request_status(connection, intent, self._restated)
            except NoAnswer:
                self._wish_unsent.set()
            except RequestRefused as refusal:
                _log.info("the driver's wish was refused after reconnecting: %s", refusal)
                if refusal.retry:
                    await self._sleep(self._jitter.next_s())
                    self._wish_unsent.set()
                else:
                    self.emit(WishRefused(intent.wish, refusal))

    async def send_wish(self, connection: Connection, intent: Intent) -> Reply:
        """Send the app's ``status``; it replaces an older one that is unanswered.

        Raises as `Connection.request`; `NoAnswer` also when a newer one replaces it.
        """

        def on_reply(reply: Reply) -> None:
            if self._asked is None or self._asked is intent:
                self.intent = intent
                self._forgotten = False
            self.apply_state(reply)

        self._asked = intent
        try:
            return await self._request_status(connection, intent, on_reply)
        finally:
            if self._asked is intent:
                self._asked = None
                self._wish_unsent.set()

    async def _request_status(
        self, connection: Connection, intent: Intent, on_reply: OnReply
    ) -> Reply:
        """Send ``status`` after the buffered fixes, unless a newer one comes first."""
        self._replaced.set()
        self._replaced = replaced = asyncio.Event()
        why = NoAnswer("a newer status replaced it")

        def make(request_id: int) -> Status:
            until = UNSET if intent.until is None else self.clock.on_server(intent.until)
            return Status(request_id, intent.wish, until)

        async def prepare(link: Link) -> None:
            await self.sender.flush(link)
            if replaced.is_set():
                raise why

        asking = connection.request(make, on_reply, before=prepare)
        reply = await outcome_unless(asking, replaced.wait(), discard=lambda _reply: None)
        if reply is None:
            raise why
        return reply

    def _restated(self, reply: Reply) -> None:
        self._forgotten = False
        self.apply_state(reply)

    def offer_is_live(self, offer: Offer) -> bool:
        """Whether an offer can still be answered, by the known server time."""
        live = self.view.offer
        is_open = self.clock.server_now_ms() < offer.expires_ms
        return live is not None and live.offer == offer.offer and is_open

    def apply_state(self, reply: Reply) -> None:
        """Apply the state in a reply."""
        self.view.apply_reply(reply)
        self._note_changes()

    def apply_accepted(self, offer: str, reply: Reply) -> None:
        """Apply the reply to ``accept``."""
        self.view.apply_accepted(offer, reply)
        self._note_changes()

    def apply_declined(self, offer: str, reply: Reply) -> None:
        """Apply the reply to ``decline``."""
        self.view.apply_declined(offer, reply)
        self._note_changes()

    def apply_refused(self, offer: str, refusal: RequestRefused) -> None:
        """Apply the refusal of an answer to an offer."""
        self.view.apply_refused(offer, refusal.code)
        self._note_changes()

    def _settle(self, report: Report, outcome: Reply | RequestRefused) -> None:
        self.reports.settle(outcome)
        both = (outcome, None) if isinstance(outcome, Reply) else (None, outcome)
        self.emit(ReportSettled(report.job, report.attempt, report.step, *both))
        self._note_changes()

    async def _offered(self, offer: Offer, link: Link) -> None:
        """Pass an offer to the app once, and acknowledge each repetition of it."""
        if offer.offer != self._last_offer:
            self._last_offer = offer.offer
            self.offers.append(offer)
            self.turned.set()
        if self._options.auto_acknowledge:
            await link.send(OfferAck(offer.offer))

    def _must_restate(self, welcome: Welcome) -> bool:
        """Whether the engine has forgotten what the driver wants."""
        wish = None if self.intent is None else self.intent.wish
        if welcome.state == DriverState.OFFLINE:
            return wish in {Wish.AVAILABLE, Wish.PAUSED}
        return welcome.state == DriverState.AVAILABLE and wish is Wish.PAUSED

    def _current_state(self) -> tuple[DriverChanged, JobsChanged]:
        view = self.view
        return DriverChanged(view.state, view.barred), JobsChanged(tuple(view.jobs.values()))

    def _note_changes(self) -> None:
        """Announce changes of state, and save them."""
        announced, self._announced = self._announced, self._current_state()
        if self._announced[0] != announced[0]:
            self.emit(self._announced[0])
        if self._announced[1] != announced[1]:
            self.emit(self._announced[1])
        self._keep()

    def _keep(self) -> None:
        """Save what must outlive the app."""
        self._keeping.keep(self.intent, self.reports, self.view.holds())

    def _recall(self) -> None:
        """Restore what an earlier run of the app saved."""
        kept = self._keeping.recall()
        self.intent = kept.intent
        self.view.recalled = {held.job: held for held in kept.holds}
        for report in kept.reports:
            self.reports.add(report)

    def _discard_other_driver(self) -> None:
        """Drop the saved state of another driver, who used this device before."""
        _log.warning(
            "dropped reports that another driver left on this device: %d", self.reports.clear()
        )
        self._ended.clear()
        self.intent = None
        self.view = DriverView()
