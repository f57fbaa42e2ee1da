"""Operations that say whether a job would find a driver."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import ORDERS
from mallard_protocol import resources
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Quotes", roles=ORDERS)

QUOTES: Final = (
    _operation(
        name="getQuote",
        method="post",
        path="/v1/quotes",
        summary="Check whether this job would find a driver now; stores nothing",
        body=resources.JobRequest,
        answer=resources.Quote,
        problems=(P.MALL_CLOSED,),
        cost=4.0,  # it ranks drivers and stores nothing, so no quota bounds it
    ),
)
