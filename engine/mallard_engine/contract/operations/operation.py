"""One operation of the HTTP API: a method of a path, and what it takes and answers."""

from dataclasses import dataclass
from typing import Any

from mallard_protocol.codes import ProblemCode, Role


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter or request header. `schema` is a JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]
    place: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Args:
        name: the `operationId`, which code generators use as a function's name. The engine finds
            the handler by it.
        method: in lower case.
        tag: a group of operations, one of `table.TAGS`.
        roles: the roles whose tokens may call it; empty if it needs no token.
        body: the struct of the request body.
        body_types: the media types of the request body.
        media_types: of a request body that is no JSON.
        status: the status of a successful response.
        accepted: it may answer 202 as well: accepted, and carried out later.
        answer: the struct of the response, or a media type; None if there is no content to
            describe.
        headers: name and description of each response header.
        problems: its own problem codes. Those of every operation with a token or a body are added.
        cost: what one request takes from its rate limits; 0 if it is not limited.
    """

    name: str
    method: str
    path: str
    summary: str
    tag: str
    roles: tuple[Role, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: type | None = None
    body_types: tuple[str, ...] = ("application/json",)
    media_types: tuple[str, ...] = ()
    status: int = 200
    accepted: bool = False
    answer: type | str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    problems: tuple[ProblemCode, ...] = ()
    cost: float = 1.0

    @property
    def query_names(self) -> frozenset[str]:
        """The query parameters that it knows."""
        return frozenset(it.name for it in self.parameters if it.place == "query")
