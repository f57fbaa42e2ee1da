"""Operations behind the pages: the contract's documents, and signing in."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_protocol import session
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Documents")

DOCUMENTS: Final = (
    _operation(
        name="getOpenApiDocument",
        method="get",
        path="/openapi.json",
        summary="This document",
        answer="application/json",
    ),
    _operation(
        name="getAsyncApiDocument",
        method="get",
        path="/asyncapi.json",
        summary="The driver socket's document",
        answer="application/json",
    ),
    _operation(
        name="getDocumentationPage",
        method="get",
        path="/docs",
        summary="Both documents as a page",
        answer="text/html",
        cost=0,
    ),
)

SESSION: Final = (
    Operation(
        name="exchangeSessionCode",
        method="post",
        path="/v1/session/exchange",
        summary="Exchange a one-time code for a token; works once, within 5 minutes",
        tag="Session",
        body=session.SessionExchange,
        answer=session.Session,
        problems=(P.NOT_FOUND, P.RATE_LIMITED, P.STORE_UNAVAILABLE),
    ),
)
