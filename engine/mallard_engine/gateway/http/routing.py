"""One path, its methods and whose tokens may call each."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mallard_engine.gateway.auth import Principal, Tokens, bearer
from mallard_engine.gateway.http.parameters import check_query
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.limits.connections import mark_authenticated
from mallard_protocol.codes import ProblemCode, Role
from mallard_protocol.operations import query_names

Handler = Callable[[Request, Principal], Awaitable[Response]]

ORDERS: Final = (Role.ORDERS, Role.OPERATOR)
OPERATORS: Final = (Role.OPERATOR,)
DRIVERS: Final = (Role.DRIVER,)


@dataclass(frozen=True, slots=True)
class Method:
    """What a method does, and the roles that may call it."""

    handler: Handler
    roles: tuple[Role, ...]


class _Endpoint:
    """The ASGI application of one path: checks the token and the query, then calls the method."""

    def __init__(self, path: str, tokens: Tokens, methods: Mapping[str, Method]) -> None:
        self._tokens = tokens
        self._query_names = {name: query_names(name, path) for name in methods}
        self._methods = dict(methods)
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
        principal.require(*method.roles)
        check_query(
            request, self._query_names["GET" if request.method == "HEAD" else request.method]
        )
        return await method.handler(request, principal)


def route(path: str, tokens: Tokens, **methods: Method) -> Route:
    """The route of a path; ``methods`` by name in lower case. HEAD and OPTIONS come with them."""
    named = {name.upper(): method for name, method in methods.items()}
    return Route(path, _Endpoint(path, tokens, named))
