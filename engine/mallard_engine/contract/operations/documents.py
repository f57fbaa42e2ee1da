"""Operations that serve the contract itself."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation

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
