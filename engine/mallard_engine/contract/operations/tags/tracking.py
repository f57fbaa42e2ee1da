"""Operations on the way of a job, as its customer sees it."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import ORDERS
from mallard_protocol import resources
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Tracking", problems=(P.NOT_FOUND,))

TRACKING: Final = (
    _operation(
        name="getTracking",
        method="get",
        path="/v1/jobs/{id}/tracking",
        summary="Show where a job is, as its customer sees it",
        roles=ORDERS,
        answer=resources.Tracking,
    ),
    _operation(
        name="endTracking",
        method="delete",
        path="/v1/jobs/{id}/tracking",
        summary="End the tracking of a job by its `tracking_url`, for good; repeatable",
        roles=ORDERS,
        status=204,
    ),
    _operation(
        name="trackJob",
        method="get",
        path="/v1/track/{token}",
        summary="Show where a job is, by its `tracking_url`'s token; other parameters are ignored",
        answer=resources.Tracking,
        problems=(P.NOT_FOUND, P.RATE_LIMITED),
    ),
)
