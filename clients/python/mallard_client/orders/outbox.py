"""What an order service submits again when the engine has lost its last writes.

    outbox = Outbox()
    job = await orders.submit(order, key=key)
    outbox.add(key, order, job)
    async for event in orders.events("phoenix", after=last_handled):
        for key, order in outbox.rewound(event).items():
            outbox.add(key, order, await orders.submit(order, key=key))

A key that has survived is answered with the job that exists, so nothing is doubled; an order that
was lost becomes a job again, with another id. It is kept in memory: a program that may end between
a submission and the event reads the same from its own database, by the time of `Job.created_at`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from mallard_client.orders.requests import JobBody
from mallard_protocol.events import Event, EventType
from mallard_protocol.resources import Job

# The clocks of a primary and of its replica differ a little.
_MARGIN: Final = timedelta(seconds=5)


class _Submitted(NamedTuple):
    market: str
    created_at: datetime
    order: JobBody


class Outbox:
    """The orders that were submitted last, by their idempotency keys.

    Args:
        kept: how long they are kept, by the engine's clock: longer than the engine may be away.
    """

    def __init__(self, kept: timedelta = timedelta(hours=1)) -> None:
        self._kept = kept
        self._submitted: OrderedDict[str, _Submitted] = OrderedDict()

    def __len__(self) -> int:
        return len(self._submitted)

    def add(self, key: str, order: JobBody, job: Job) -> None:
        """Note an order and the job that the engine has made of it."""
        self._submitted[key] = _Submitted(job.market, job.created_at, order)
        self._submitted.move_to_end(key)
        while job.created_at - next(iter(self._submitted.values())).created_at > self._kept:
            self._submitted.popitem(last=False)

    def rewound(self, event: Event) -> Mapping[str, JobBody]:
        """Return what may be lost: nothing unless the event is ``market.rewound``.

        Submit each again under its key. The same event comes twice without harm.
        """
        if event.type != EventType.MARKET_REWOUND:
            return {}
        since = datetime.fromisoformat(event.data["since"]) - _MARGIN
        return {
            key: it.order
            for key, it in self._submitted.items()
            if it.market == event.market and it.created_at >= since
        }
