"""The tokens of a run, minted with the engine's secret or given.

Each machine reads its own; they are never sent to a worker.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt

from mallard_protocol.codes import TOKEN_AUDIENCE, Role

_TTL_S: Final = 86_400


class BadCredentials(Exception):
    """Tokens are missing or unreadable; the message names them."""


@dataclass(frozen=True, slots=True)
class DriverToken:
    """A driver and its token."""

    driver: str
    market: str
    token: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """A secret, or the tokens of an order service, an operator and drivers."""

    secret: str | None = None
    orders_token: str | None = None
    operator_token: str | None = None
    driver_tokens: tuple[DriverToken, ...] = ()

    @property
    def orders(self) -> str:
        """The token of an order service. Raises `BadCredentials`."""
        if self.orders_token:
            return self.orders_token
        return self.service("load-orders")

    def service(self, name: str) -> str:
        """The token of an order service of any name. Raises `BadCredentials`."""
        return self._mint(name, Role.ORDERS, "--orders-token")

    @property
    def operator(self) -> str:
        """The token of an operator. Raises `BadCredentials`."""
        if self.operator_token:
            return self.operator_token
        return self._mint("load-operator", Role.OPERATOR, "--operator-token")

    @property
    def can_watch(self) -> bool:
        """Whether there is an operator's token, which positions are read with."""
        return bool(self.secret or self.operator_token)

    def drivers(self, worker: int, workers: int) -> Sequence[DriverToken] | None:
        """Return the given drivers of one of `workers`; None if tokens can be minted."""
        return self.driver_tokens[worker::workers] if self.driver_tokens else None

    def driver(self, name: str, market: str) -> DriverToken:
        """The token of a driver of any name. Raises `BadCredentials`."""
        token = self._mint(name, Role.DRIVER, "--driver-tokens", market=market)
        return DriverToken(name, market, token)

    def mint(self, sub: str, role: Role) -> str:
        """The token of any subject. Raises `BadCredentials`."""
        return self._mint(sub, role, "--secret-file")

    def _mint(self, sub: str, role: Role, instead: str, **claims: str) -> str:
        if not self.secret:
            raise BadCredentials(
                f"no token for {role}: give the engine's secret (MALLARD_SECRET, --secret-file) "
                f"or {instead}"
            )
        now_s = int(time.time())
        body = {"sub": sub, "role": role, "aud": TOKEN_AUDIENCE, "exp": now_s + _TTL_S, **claims}
        return jwt.encode(body, self.secret, "HS256")


def read_secret(path: Path) -> str:
    """The secret in a file, such as the one that `mallard serve` made in its data folder."""
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise BadCredentials(f"{path}: {error}") from error
    if not secret:
        raise BadCredentials(f"{path} is empty")
    return secret


def read_driver_tokens(path: Path) -> tuple[DriverToken, ...]:
    """A token a line, as `mallard token driver` prints them; each says whose it is."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, ValueError) as error:
        raise BadCredentials(f"{path}: {error}") from error
    if not lines:
        raise BadCredentials(f"{path} holds no token")
    return tuple(_driver_token(line, path) for line in lines)


def _driver_token(token: str, path: Path) -> DriverToken:
    try:
        # The engine verifies it.
        claims = jwt.decode(token, options={"verify_signature": False})
        return DriverToken(str(claims["sub"]), str(claims["market"]), token)
    except (jwt.PyJWTError, KeyError) as error:
        raise BadCredentials(f"{path}: not a driver's token: {error!r}") from error
