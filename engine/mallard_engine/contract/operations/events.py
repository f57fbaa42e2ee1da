"""Operations that stream what happens in a market."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import LAST_EVENT_ID, MARKET, ORDERS
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Events", roles=ORDERS)

EVENTS: Final = (
    _operation(
        name="streamJobEvents",
        method="get",
        path="/v1/jobs/{id}/events",
        summary="A job's events as server-sent events, at least once",
        parameters=(LAST_EVENT_ID,),
        answer="text/event-stream",
        problems=(P.NOT_FOUND, P.EVENTS_TRIMMED),
        served=False,
    ),
    _operation(
        name="streamEvents",
        method="get",
        path="/v1/events",
        summary="A market's events as server-sent events, at least once",
        parameters=(MARKET, LAST_EVENT_ID),
        answer="text/event-stream",
        problems=(P.EVENTS_TRIMMED,),
        served=False,
    ),
)
