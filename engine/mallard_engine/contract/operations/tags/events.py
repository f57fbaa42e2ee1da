"""Operations that stream what happens in a market."""

from dataclasses import replace
from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import LAST_EVENT_ID, MARKET, ORDERS, query
from mallard_protocol.codes import ProblemCode
from mallard_protocol.events import EventType

P = ProblemCode
_operation = partial(Operation, tag="Events", roles=ORDERS)
_TYPES: Final = "|".join(EventType).replace(".", r"\.")
TYPES: Final = query(
    "types",
    "Only these types, separated by commas",
    type="string",
    pattern=f"^({_TYPES})(,({_TYPES}))*$",
)
AFTER: Final = query(
    "after", "Resume after the event with this id; `Last-Event-ID` wins", type="string"
)

EVENTS: Final = (
    _operation(
        name="streamJobEvents",
        method="get",
        path="/v1/jobs/{id}/events",
        summary="A job's events as server-sent events, at least once",
        parameters=(AFTER, LAST_EVENT_ID),
        answer="text/event-stream",
        problems=(P.NOT_FOUND, P.EVENTS_TRIMMED, P.DRAINING),
    ),
    _operation(
        name="streamEvents",
        method="get",
        path="/v1/events",
        summary="A market's events as server-sent events, at least once",
        parameters=(replace(MARKET, required=True), TYPES, AFTER, LAST_EVENT_ID),
        answer="text/event-stream",
        headers=(("Last-Event-ID", "The event after which the stream begins"),),
        problems=(P.EVENTS_TRIMMED, P.DRAINING),
    ),
)
