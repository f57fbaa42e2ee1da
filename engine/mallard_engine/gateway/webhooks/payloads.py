"""What is posted of deliveries: the events as their readers see them, made once for a whole batch.

The jobs of a batch are read in one go, and an event is made once for each kind of reader, however
many endpoints get it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog

from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.events.views import EventViews, Reader
from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_engine.gateway.webhooks.sender import Message
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import StoreUnavailable

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

Wanted = tuple[str, Reader]
"""The id of an event, and who reads it."""
Payloads = Mapping[Wanted, Message | None]
"""By event and reader; None: the reader may not see it. What could not be made is missing."""

# After this many events other tasks get their turn.
_IN_A_ROW: Final = 16


async def payloads(views: EventViews, due: Iterable[tuple[MarketEvent, Reader]]) -> Payloads:
    """Return what is posted of these events to these readers.

    Raises:
        StoreUnavailable: the jobs could not be read.
    """
    by_market: defaultdict[str, list[tuple[MarketEvent, Reader]]] = defaultdict(list)
    for event, reader in due:
        by_market[event.market].append((event, reader))
    made = await asyncio.gather(*(_of_market(views, own) for own in by_market.values()))
    return {wanted: message for part in made for wanted, message in part.items()}


async def _of_market(views: EventViews, due: Sequence[tuple[MarketEvent, Reader]]) -> Payloads:
    try:
        return await _made(views, due)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - one event must not end the others
        if len(due) > 1:
            parts = [await _of_market(views, [each]) for each in due]
            return {wanted: message for part in parts for wanted, message in part.items()}
        _often.error("webhook delivery failed unexpectedly", example={"exc_info": error})
        return {}


async def _made(views: EventViews, due: Sequence[tuple[MarketEvent, Reader]]) -> Payloads:
    made: dict[Wanted, Message | None] = {(event.id, reader): None for event, reader in due}
    own: defaultdict[Reader, dict[str, MarketEvent]] = defaultdict(dict)
    for recorded, reader in due:
        if reader.may_read(recorded):
            own[reader][recorded.id] = recorded
    loaded = await views.load([it for events in own.values() for it in events.values()])
    shown = await asyncio.gather(
        *(views.shown(list(events.values()), loaded, reader) for reader, events in own.items())
    )
    of_readers = zip(own, shown, strict=True)
    seen = ((reader, event) for reader, events in of_readers for event in events)
    for number, (reader, event) in enumerate(seen, 1):
        made[event.id, reader] = Message(event.id, encode_json(event))
        if number % _IN_A_ROW == 0:
            await asyncio.sleep(0)
    return made
