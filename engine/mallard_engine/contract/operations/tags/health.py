"""Probes and metrics of a node."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_protocol import resources
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Health")

HEALTH: Final = (
    _operation(
        name="checkLiveness",
        method="get",
        path="/livez",
        summary="Check that the process is alive; calls nothing else",
        cost=0.0,
        answer="text/plain",
    ),
    _operation(
        name="checkReadiness",
        method="get",
        path="/readyz",
        summary="Check whether this node takes traffic",
        cost=0.0,
        answer=resources.Readiness,
        problems=(P.STORE_UNAVAILABLE, P.DRAINING),
    ),
    _operation(
        name="getMetrics",
        method="get",
        path="/metrics",
        summary="Prometheus metrics",
        cost=0.0,
        answer="text/plain",
    ),
)
