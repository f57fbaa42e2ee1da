"""Decides who may open a driver socket, from the handshake and the token alone."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mallard_engine.core.vehicles import DriverClaims
from mallard_engine.gateway.auth.origins import is_same_origin
from mallard_engine.gateway.auth.tokens import (
    BadToken,
    Principal,
    TokenExpired,
    Tokens,
    WrongScope,
    bearer,
)
from mallard_engine.gateway.limits.client_address import TrustedProxies
from mallard_protocol.codes import SUBPROTOCOLS, Close, Role

Headers = Iterable[tuple[bytes, bytes]]


class Refusal(StrEnum):
    """Why a handshake is refused before the upgrade."""

    QUERY = "query"
    ORIGIN = "origin"


class AdmissionDenied(Exception):
    """The token opens no socket here. The socket is closed with `code`."""

    def __init__(self, code: Close) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Admitted:
    """A driver with a valid token.

    `claims`: what the token states of the driver.
    """

    market: str
    driver: str
    expires_ms: int
    claims: DriverClaims | None = None
    issued_ms: int = 0

    @property
    def principal(self) -> Principal:
        """The subject of the token."""
        return Principal(
            self.driver, Role.DRIVER, self.market, self.expires_ms, issued_ms=self.issued_ms
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of a node.

    Args:
        tokens: checks tokens.
        markets: the ids of the markets that are served.
        allowed_origins: origins whose browser pages may open sockets.
        proxies: whose `X-Forwarded-Proto` is trusted.
    """

    tokens: Tokens
    markets: Collection[str]
    allowed_origins: Collection[str] = ()
    proxies: TrustedProxies = field(default_factory=TrustedProxies)

    def refusal(self, scope: Mapping[str, Any]) -> Refusal | None:
        """Return why a handshake is refused before the upgrade; None to accept it.

        A query string may hold a token, which proxies would log. A browser page must be of the same
        origin, of an allowed origin, or send a token: a page that a driver merely visits has none.
        """
        if scope["query_string"]:
            return Refusal.QUERY
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        if not origins:
            return None
        if len(origins) == 1:
            if origins[0] in self.allowed_origins or self._is_own(origins[0], scope):
                return None
            with contextlib.suppress(AdmissionDenied):
                if self.admit_by_header(headers) is not None:
                    return None
        return Refusal.ORIGIN

    def _is_own(self, origin: str, scope: Mapping[str, Any]) -> bool:
        values = dict(scope["headers"])
        peer = scope.get("client")
        is_tls = scope["scheme"] == "wss" or (
            values.get(b"x-forwarded-proto", b"").strip().lower() in {b"https", b"wss"}
            and self.proxies.trusts(peer[0] if peer else "")
        )
        host = values.get(b"host", b"").decode("latin-1")
        return is_same_origin(origin, host, is_tls=is_tls)

    def admit_by_header(self, headers: Headers) -> Admitted | None:
        """Return the driver of the `Authorization` header; None without one.

        Raises:
            AdmissionDenied: the token does not admit a driver.
        """
        values = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        if not values:
            return None
        try:
            return self.admit(bearer(values))
        except BadToken:
            raise AdmissionDenied(Close.BAD_TOKEN) from None

    def admit(self, token: str) -> Admitted:
        """Return the driver of a token. Raises `AdmissionDenied`."""
        try:
            principal = self.tokens.verify(token)
            principal.require(Role.DRIVER)
        except TokenExpired:
            raise AdmissionDenied(Close.TOKEN_EXPIRED) from None
        except BadToken:
            raise AdmissionDenied(Close.BAD_TOKEN) from None
        except WrongScope:
            raise AdmissionDenied(Close.WRONG_SCOPE) from None
        if principal.market is None or principal.market not in self.markets:
            raise AdmissionDenied(Close.WRONG_SCOPE)
        return Admitted(
            principal.market,
            principal.sub,
            principal.expires_ms,
            principal.claims,
            principal.issued_ms,
        )

    def is_revoked(self, admitted: Admitted) -> bool:
        """Whether the driver's token has been revoked since it was admitted."""
        return self.tokens.is_revoked(admitted.principal)


def common_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the first supported subprotocol that the app offers; None if there is none."""
    return next((name for name in SUBPROTOCOLS if name in offered), None)
