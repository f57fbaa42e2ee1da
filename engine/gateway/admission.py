"""Who may open a driver's socket: decided from the handshake and the token alone."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from engine.gateway.auth import BadToken, TokenExpired, Tokens, WrongScope, bearer
from protocol.codes import SUBPROTOCOLS, Close, Role

Headers = Iterable[tuple[bytes, bytes]]


class Turned(Exception):
    """The token opens no socket here; ``code`` is what the socket is closed with."""

    def __init__(self, code: Close) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Admitted:
    """A driver with a good token. ``equipment``: what the token allows; None: anything."""

    market: str
    driver: str
    expires_ms: int
    equipment: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of a node: its tokens, the markets that it serves, the browsers that it trusts."""

    tokens: Tokens
    markets: Collection[str]
    allowed_origins: Collection[str] = ()

    def refusal_status(self, query: bytes, headers: Headers) -> HTTPStatus | None:
        """The HTTP status that refuses a handshake before the upgrade; None: go on.

        A query string may hold a token, which would end up in the logs on its way. A phone sends no
        Origin; a browser's must be allowed by name.
        """
        if query:
            return HTTPStatus.BAD_REQUEST
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        if not origins:
            return None
        is_allowed = len(origins) == 1 and origins[0] in self.allowed_origins
        return None if is_allowed else HTTPStatus.FORBIDDEN

    def admit_by_header(self, headers: Headers) -> Admitted | None:
        """Whom `Authorization` speaks for; None without one. Raises `Turned`."""
        values = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        if not values:
            return None
        try:
            return self.admit(bearer(values))
        except BadToken:
            raise Turned(Close.BAD_TOKEN) from None

    def admit(self, token: str) -> Admitted:
        """Whom a token speaks for. Raises `Turned`."""
        try:
            principal = self.tokens.verify(token)
            principal.require(Role.DRIVER)
        except TokenExpired:
            raise Turned(Close.TOKEN_EXPIRED) from None
        except BadToken:
            raise Turned(Close.BAD_TOKEN) from None
        except WrongScope:
            raise Turned(Close.WRONG_SCOPE) from None
        if principal.market is None or principal.market not in self.markets:
            raise Turned(Close.WRONG_SCOPE)
        return Admitted(principal.market, principal.sub, principal.expires_ms, principal.equipment)


def common_subprotocol(offered: Sequence[str]) -> str | None:
    """The first of ours that the app offers, too."""
    return next((name for name in SUBPROTOCOLS if name in offered), None)
