"""Sends what is due to the endpoints that this node has leased.

Each endpoint has slots of its own, more once it has answered quickly, fewer if it is slow and one
if it fails. Slow endpoints share another total than quick ones, so that however many of them there
are, they delay no quick one. What is taken together is read and made together.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import structlog

from mallard_engine.core.webhooks.endpoints import Endpoint
from mallard_engine.core.webhooks.retries import next_attempt_ms
from mallard_engine.gateway.events.views import EventViews, Reader
from mallard_engine.gateway.webhooks.payloads import Payloads, payloads
from mallard_engine.gateway.webhooks.sender import Answer, Sender
from mallard_engine.logs import RateLimitedLog
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Attempt, StoreUnavailable, WaitingDelivery, Webhooks
from mallard_engine.tasks import cancel
from mallard_protocol.webhooks import DeliveryOutcome

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log, interval_s=10.0)

NEW_SLOTS: Final = 8
QUICK_SLOTS: Final = 32
SLOW_SLOTS: Final = 4
FAILING_SLOTS: Final = 1
# An endpoint is slow if its last answer took this long, or one that it owes has taken this long.
SLOW_S: Final = 1.0
# An endpoint whose last answer came within this time is quick.
QUICK_S: Final = 0.5
MOST_QUICK: Final = 256
MOST_SLOW: Final = 128
# The most endpoints whose queues one call reads: it then occupies Redis for less than 1 ms.
MOST_ASKED: Final = 256
# A delivery that a node has taken and not settled falls due again after this time, which is longer
# than a delivery may take.
HOLD_MS: Final = 20_000
_LOG_EACH_S: Final = 60.0


@dataclass(slots=True)
class Line:
    """One endpoint's deliveries on this node.

    Attributes:
        began_s: When each delivery that is under way began.
        has_more: More may be due: the last read filled its slots, or the total of its kind.
        is_quick: Its last answer was quick.
    """

    began_s: dict[int, float] = field(default_factory=dict)
    has_more: bool = False
    is_quick: bool = False
    is_slow: bool = False
    is_failing: bool = False
    failures: int = 0
    logged_s: float = float("-inf")

    def slow_now(self, now_s: float) -> bool:
        """Whether it counts as slow."""
        oldest_s = min(self.began_s.values(), default=now_s)
        return self.is_slow or self.is_failing or now_s - oldest_s >= SLOW_S

    def free(self, now_s: float) -> int:
        """Return how many more deliveries may be under way."""
        most = QUICK_SLOTS if self.is_quick else NEW_SLOTS
        if self.is_failing:
            most = FAILING_SLOTS
        elif self.slow_now(now_s):
            most = SLOW_SLOTS
        return max(0, most - len(self.began_s))


class Slots(NamedTuple):
    """How many deliveries to take for each endpoint, and at most for all of them."""

    each: dict[str, int]
    most: int


def slots_for(lines: Mapping[str, Line], own: Container[str], now_s: float) -> list[Slots]:
    """Return how many deliveries to take: for quick endpoints, and for slow ones.

    Few endpoints have as many deliveries due as they have slots. So the total bounds what is taken,
    and reserves nothing for an endpoint that may have nothing due.

    Args:
        lines: every endpoint with deliveries under way, and those of `own`, in the order in which
            they are asked.
        own: the endpoints for which deliveries may be taken.
        now_s: the time of the event loop.
    """
    left = {False: MOST_QUICK, True: MOST_SLOW}
    slots: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for endpoint, line in lines.items():
        is_slow = line.slow_now(now_s)
        left[is_slow] -= len(line.began_s)
        free, asked = line.free(now_s), slots[is_slow]
        if endpoint in own and free and len(asked) < MOST_ASKED:
            asked[endpoint] = free
    return [Slots(slots[it], left[it]) for it in left if slots[it] and left[it] > 0]


def reached(slots: Slots, due: Sequence[WaitingDelivery]) -> Sequence[str]:
    """Return the endpoints whose queues were read before the total was used up."""
    asked = list(slots.each)
    if len(due) < slots.most:
        return asked
    return asked[: asked.index(due[-1].endpoint) + 1]


class Deliveries:
    """The deliveries of a node.

    Args:
        store: the storage of the queues.
        views: makes what readers see of events.
        sender: posts.
        metrics: counts.
        now_ms: Redis's clock.
        on_due: called when a delivery may be due that can be sent: a slot has become free, or the
            node has a new endpoint, whose events may have been queued before.
        chance: a random number from 0 up to 1.
    """

    def __init__(
        self,
        store: Webhooks,
        views: EventViews,
        sender: Sender,
        metrics: Metrics,
        now_ms: Callable[[], int],
        on_due: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._views = views
        self._sender = sender
        self._metrics = metrics
        self._now_ms = now_ms
        self._on_due = on_due
        self._chance = chance
        self._endpoints: dict[str, Endpoint] = {}
        # In the order in which they are asked.
        self._lines: dict[str, Line] = {}
        # Calls in a row that found nothing due.
        self._idle_calls = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._numbers = 0

    def __len__(self) -> int:
        """How many deliveries are under way."""
        return len(self._tasks)

    def work_on(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Send to these endpoints and no others; deliveries under way continue."""
        is_any_new = bool(endpoints.keys() - self._endpoints.keys())
        self._endpoints = dict(endpoints)
        self._lines = {
            name: line
            for name, line in self._lines.items()
            if name in self._endpoints or line.began_s
        }
        for endpoint in endpoints.values():
            self._line_of(endpoint)
        if is_any_new:
            self._on_due()

    async def send_due(self) -> bool:
        """Take what is due and begin to send it, of at most `MOST_ASKED` endpoints of each kind.

        Endpoints take turns, so that however many there are, each is asked after a bounded number
        of calls.

        Returns:
            Whether to call again soon: something was due, or an endpoint has not been asked since.

        Raises:
            StoreUnavailable: what was taken falls due again.
        """
        if not self._endpoints:
            return False
        clock = asyncio.get_running_loop().time
        # What was taken is sent, although its endpoint may be given up meanwhile: it would fall due
        # again only after `HOLD_MS`.
        asked = self._endpoints
        is_any_due = False
        for slots in slots_for(self._lines, self._endpoints, clock()):
            due = await self._store.take(slots.each, slots.most, HOLD_MS)
            taken = Counter(waiting.endpoint for waiting in due)
            for name, count in slots.each.items():
                if name in self._lines:
                    has_more = taken[name] >= count or len(due) >= slots.most
                    self._lines[name].has_more = has_more
            self._put_last(reached(slots, due))
            self._begin_all(due, asked, clock())
            is_any_due |= bool(due)
        self._idle_calls = 0 if is_any_due else self._idle_calls + 1
        if self._idle_calls * MOST_ASKED < len(self._endpoints):
            return True
        self._idle_calls = 0
        return False

    def _line_of(self, endpoint: Endpoint) -> Line:
        if endpoint.id not in self._lines:
            self._lines[endpoint.id] = Line(is_failing=endpoint.failing_ms > 0)
        return self._lines[endpoint.id]

    def _put_last(self, endpoints: Iterable[str]) -> None:
        """Move these endpoints to the end of the order in which they are asked."""
        for name in endpoints:
            if (line := self._lines.pop(name, None)) is not None:
                self._lines[name] = line

    def _begin_all(
        self, due: Sequence[WaitingDelivery], asked: Mapping[str, Endpoint], now_s: float
    ) -> None:
        if not due:
            return
        known = self._endpoints
        begun = [(it, known.get(it.endpoint, asked[it.endpoint])) for it in due]
        wanted = [(it.event, Reader(own.service)) for it, own in begun]
        made = asyncio.create_task(payloads(self._views, wanted), name="webhook payloads")
        for waiting, endpoint in begun:
            self._begin(waiting, endpoint, made, now_s)

    def _begin(
        self,
        waiting: WaitingDelivery,
        endpoint: Endpoint,
        made: asyncio.Task[Payloads],
        now_s: float,
    ) -> None:
        self._numbers += 1
        number, line = self._numbers, self._line_of(endpoint)
        line.began_s[number] = now_s
        task = asyncio.create_task(
            self._deliver(waiting, endpoint, made, line), name="webhook delivery"
        )
        self._tasks[number] = task

        def ended(_: asyncio.Task[None]) -> None:
            del self._tasks[number], line.began_s[number]
            if line.has_more:
                self._on_due()

        task.add_done_callback(ended)

    async def stop(self) -> None:
        """Break off what is under way; it falls due again."""
        await cancel(*self._tasks.values())

    async def _deliver(
        self,
        waiting: WaitingDelivery,
        endpoint: Endpoint,
        made: asyncio.Task[Payloads],
        line: Line,
    ) -> None:
        """Deliver one event. Whatever breaks this, the delivery falls due again."""
        wanted = (waiting.event.id, Reader(endpoint.service))
        try:
            found = await asyncio.shield(made)
            if wanted not in found:
                return
            message = found[wanted]
            if message is None:
                await self._store.settle(waiting, None, is_gone=False)
                return
            secrets = endpoint.signs_with(self._now_ms())
            answer = await self._sender.post(endpoint.url, message, secrets)
            self._note(endpoint, line, answer)
            await self._settle(waiting, answer)
        except StoreUnavailable as problem:
            _often.warning("webhook deliveries wait for Redis", reason=str(problem))
        except Exception as error:  # noqa: BLE001 - one event must not end the others
            _often.error("webhook delivery failed unexpectedly", example={"exc_info": error})

    async def _settle(self, waiting: WaitingDelivery, answer: Answer) -> None:
        now_ms = self._now_ms()
        began_ms = now_ms - answer.duration_ms
        first_ms = waiting.first_ms or began_ms
        number = waiting.failed + 1
        next_ms, outcome = None, DeliveryOutcome.DELIVERED
        if answer.error is not None:
            if not answer.is_gone:
                next_ms = next_attempt_ms(number, first_ms, now_ms, self._chance())
            outcome = DeliveryOutcome.GAVE_UP if next_ms is None else DeliveryOutcome.FAILED
        attempt = Attempt(
            event=waiting.event.id,
            type=waiting.event.type or "",
            attempt=number,
            at_ms=began_ms,
            duration_ms=answer.duration_ms,
            outcome=outcome.value,
            status=answer.status,
            error=None if answer.error is None else answer.error.value,
            next_ms=next_ms,
        )
        self._metrics.webhook_attempt(outcome.value, answer.duration_ms / 1000)
        if outcome is DeliveryOutcome.DELIVERED and number == 1:
            self._metrics.webhook_lag(max(0, now_ms - waiting.event.at_ms) / 1000)
        reason = await self._store.settle(
            replace(waiting, first_ms=first_ms), attempt, is_gone=answer.is_gone
        )
        if reason:
            self._metrics.webhook_disabled(reason)
            _log.warning("webhook disabled", endpoint=waiting.endpoint, reason=reason)

    def _note(self, endpoint: Endpoint, line: Line, answer: Answer) -> None:
        """Remember how the endpoint does; log at most one line a minute for it."""
        line.is_slow = answer.duration_ms >= SLOW_S * 1000
        line.is_failing = answer.error is not None
        line.is_quick = not line.is_failing and answer.duration_ms < QUICK_S * 1000
        if answer.error is None:
            line.failures = 0
            return
        line.failures += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - line.logged_s >= _LOG_EACH_S:
            line.logged_s = now_s
            _log.warning(
                "webhook fails",
                endpoint=endpoint.id,
                error=answer.error.value,
                status=answer.status,
                failures=line.failures,
            )
