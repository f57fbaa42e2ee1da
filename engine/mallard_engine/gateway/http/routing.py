"""Builds the routes of the HTTP API from the contract's table of operations.

`bind` fails when an operation has no handler or a handler has no operation, so the API cannot
differ from its documents.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.core.job_ids import market_in
from mallard_engine.gateway.auth.tokens import Principal, Tokens, bearer
from mallard_engine.gateway.http.audited_calls import AuditedCalls, BodyCopy
from mallard_engine.gateway.http.parameters import check_query
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import check_no_body
from mallard_engine.gateway.limits.connections import mark_authenticated
from mallard_protocol.codes import ProblemCode, Role

Handler = Callable[[Request, Principal], Awaitable[Response]]
"""Serves an operation that takes a token."""
PublicHandler = Callable[[Request], Awaitable[Response]]
"""Serves an operation that takes none."""


class RefusalCheck(Protocol):
    """Looks at the refusals of calls that change something; see `DoubtfulRefusals.check`."""

    async def __call__(self, error: Exception, request: Request, principal: Principal) -> None:
        """Raise what is to be answered instead."""


def bind(
    operations: Iterable[Operation],
    tokens: Tokens,
    handlers: Mapping[str, Handler],
    public: Mapping[str, PublicHandler],
    audited: AuditedCalls | None = None,
    check: RefusalCheck | None = None,
) -> list[Route]:
    """Return the routes of a table of operations.

    HEAD and OPTIONS come with the methods of each path.

    Args:
        operations: the rows of the table.
        tokens: what checks the tokens.
        handlers: the handlers of operations that take a token, by the operation's name.
        public: the handlers of operations that take none, by the operation's name.
        audited: what notes the calls of operators; None: the operations have none.
        check: called with each refusal of a call that changes something.

    Raises:
        ValueError: operations and handlers differ.
    """
    operations = tuple(operations)
    names = {operation.name for operation in operations}
    if difference := names ^ (handlers.keys() | public.keys()):
        raise ValueError(f"operations and handlers differ: {', '.join(sorted(difference))}")
    routes = [
        Route(operation.path, public[operation.name], methods=[operation.method])
        for operation in operations
        if operation.name in public
    ]
    endpoints: defaultdict[str, dict[str, _Method]] = defaultdict(dict)
    for operation in operations:
        if operation.name in handlers:
            handler = handlers[operation.name]
            endpoints[operation.path][operation.method.upper()] = _Method(operation, handler)
    for path, methods in endpoints.items():
        routes.append(Route(path, _Endpoint(tokens, methods, audited, check)))
    return routes


# A handler may answer these instead of the status of the table: accepted, not modified.
_OTHER_STATUSES: Final = frozenset({202, 304})


class _Method:
    """One method of a path. What a request needs of the row is computed once."""

    __slots__ = (
        *("changes", "handler", "has_body", "keeps_body", "name"),
        *("query_names", "roles", "status"),
    )

    def __init__(self, operation: Operation, handler: Handler) -> None:
        self.name = operation.name
        self.handler = handler
        self.changes = operation.method != "get"
        self.has_body = operation.body is not None or bool(operation.media_types)
        # What order services may call holds data of customers, which the log must not keep.
        self.keeps_body = operation.roles == (Role.OPERATOR,)
        self.query_names = operation.query_names
        self.roles = operation.roles
        self.status = operation.status


class _Endpoint:
    """The ASGI application of one path: checks token and query, then calls the handler."""

    def __init__(
        self,
        tokens: Tokens,
        methods: Mapping[str, _Method],
        audited: AuditedCalls | None,
        check: RefusalCheck | None,
    ) -> None:
        self._tokens = tokens
        self._audited = audited
        self._check = check
        self._methods: Final = dict(sorted(methods.items()))
        if "GET" in methods:
            self._methods["HEAD"] = methods["GET"]
        self._allow = ", ".join((*self._methods, "OPTIONS"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self._allow})
        method = self._methods.get(request.method)
        if method is None:
            allow = {"Allow": self._allow}
            raise HttpProblem(
                ProblemCode.METHOD_NOT_ALLOWED, f"allowed: {self._allow}", headers=allow
            )
        principal = self._tokens.verify(bearer(request.headers.getlist("authorization")))
        mark_authenticated(request.scope)
        if principal.role is Role.STORE and Role.STORE not in method.roles:
            raise HttpProblem(ProblemCode.NOT_FOUND)  # to a counter, nothing else exists
        principal.require(*method.roles)
        if principal.role is Role.OPERATOR and method.changes and self._audited is not None:
            body = BodyCopy(request.receive) if method.keeps_body else None
            if body is not None:
                request = Request(request.scope, body)
            response = await self._audited.carry_out(
                request,
                principal,
                operation=method.name,
                market=market_named(request),
                body=body,
                call=partial(self._call, method, request, principal),
            )
        else:
            response = await self._call(method, request, principal)
        return response

    async def _call(self, method: _Method, request: Request, principal: Principal) -> Response:
        if principal.markets is not None and (market := market_named(request)) is not None:
            principal.require_market(market)
        check_query(request, method.query_names)
        if method.changes and not method.has_body:
            await check_no_body(request)
        try:
            response = await method.handler(request, principal)
        except Exception as error:
            if method.changes and self._check is not None:
                await self._check(error, request, principal)
            raise
        if response.status_code not in _OTHER_STATUSES:
            response.status_code = method.status
        return response


def market_named(request: Request) -> str | None:
    """Return the market that the request names, in its path, its query or the id of its resource.

    The ids of jobs and alerts hold their market.
    """
    path = request.path_params
    if (market := path.get("market") or request.query_params.get("market")) is not None:
        named: str = market
        return named
    return market_in(path.get("id", ""))
