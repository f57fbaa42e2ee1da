"""Verifies and creates bearer tokens (JWT).

A token is never logged and never returned to its sender: error texts say what is wrong with it and
quote nothing of it.
"""

import base64
import binascii
import hmac
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jwt
import msgspec

from mallard_engine.config.settings import ConfigError
from mallard_engine.contract.reading.instants import OUT_OF_BOUNDS
from mallard_engine.core.vehicles import DriverClaims
from mallard_engine.gateway.auth.token_keys import TokenKeys
from mallard_engine.gateway.stated_vehicles import stated_vehicle
from mallard_protocol import messages
from mallard_protocol.codes import TOKEN_AUDIENCE, Role
from mallard_protocol.fields import Alias, Id, Items
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS

MAX_TOKEN_CHARS: Final = 8192
# How far ahead an issuer's clock may be. The expiry has no leeway, since its holder knows it.
LEEWAY_S: Final = 10
MAX_CACHED: Final = 4096
# Headers of tokens: an issuer has one or two.
_MAX_HEADERS: Final = 16
_ALGORITHMS: Final = ("HS256", "RS256", "ES256")


class BadToken(Exception):
    """The token is not valid: 401, or the socket is closed with 4501."""


class TokenExpired(BadToken):
    """The token was valid and has expired: 401, or 4005 on the socket."""


class WrongScope(Exception):
    """A valid token of the wrong role or market: 403, or 4503 on the socket."""


class Shop(NamedTuple):
    """A shop: its mall, and its store in that mall."""

    mall: str
    store: str


@dataclass(frozen=True, slots=True)
class Principal:
    """The subject of a token.

    `market` is that of a driver, or of a shop if its token names one; else None. `claims`: what the
    token states of a driver; None if it states nothing. `shop`: that of a counter; None for other
    roles. `markets`: to which an order service or an operator is bounded; None: all. `issued_ms`: 0
    if the token does not say when.
    """

    sub: str
    role: Role
    market: str | None
    expires_ms: int
    claims: DriverClaims | None = None
    shop: Shop | None = None
    markets: frozenset[str] | None = None
    issued_ms: int = 0

    @property
    def caller(self) -> tuple[str, ...]:
        """Who has a share of its own of what a node limits.

        A subject is one caller within its role, and a driver within its market. All tokens of a
        shop are one caller, whatever their subjects.
        """
        if self.shop is not None:
            return (self.role.value, *self.shop)
        if self.role is Role.DRIVER:
            return (self.role.value, self.market or "", self.sub)
        return (self.role.value, self.sub)

    def reaches(self, market: str) -> bool:
        """Whether the token concerns this market."""
        if self.markets is not None:
            return market in self.markets
        return self.market is None or self.market == market

    def require_market(self, market: str) -> None:
        """Raise `WrongScope` unless the token reaches this market."""
        if not self.reaches(market):
            raise WrongScope("this token is for other markets")

    def require(self, *roles: Role) -> None:
        """Raise `WrongScope` unless the role is one of these."""
        if self.role not in roles:
            raise WrongScope(f"this takes a token of role {' or '.join(roles)}")


class _Claims(msgspec.Struct):
    sub: Id
    role: Role
    aud: str | tuple[str, ...]
    exp: float
    nbf: float = 0
    iat: float = 0
    market: Id | None = None
    markets: tuple[Id, ...] | None = None
    alias: Alias | None = None
    vehicle: messages.Vehicle | None = None
    equipment: Items | None = None
    qualifications: Items | None = None
    mall: Id | None = None
    store: Id | None = None

    @property
    def times_s(self) -> tuple[float, ...]:
        """All times of the token, in seconds since the epoch."""
        return self.exp, self.nbf, self.iat

    @property
    def of_driver(self) -> DriverClaims | None:
        """What the token states of its driver."""
        claims = DriverClaims(
            alias=self.alias,
            vehicle=None if self.vehicle is None else stated_vehicle(self.vehicle),
            equipment=self.equipment,
            qualifications=self.qualifications,
        )
        return None if claims == DriverClaims() else claims


_claims = msgspec.json.Decoder(_Claims).decode


class Tokens:
    """Verifies and creates tokens.

    Args:
        keys: the keys.
        now_ms: the clock for expiry, epoch milliseconds; by default the system's.
    """

    def __init__(self, keys: TokenKeys, now_ms: Callable[[], int] | None = None) -> None:
        self._keys = keys
        self._now_ms = now_ms or _wall_ms
        self._jws = jwt.PyJWS(algorithms=_ALGORITHMS)
        # Verified tokens, oldest first: an order service sends the same token with each request.
        self._known: dict[str, Principal] = {}
        # The secrets that have verified a token with this header. The next one needs only its HMAC.
        self._secrets: dict[str, dict[bytes, None]] = {}
        # Whether a token was revoked after it was issued; see `RevokedTokens`.
        self.is_revoked: Callable[[Principal], bool] = lambda _: False

    def now_ms(self) -> int:
        """The clock by which tokens expire."""
        return self._now_ms()

    def use(self, keys: TokenKeys) -> None:
        """Replace the keys. Tokens of removed keys are refused from now on."""
        self._keys = keys
        self._known.clear()
        self._secrets.clear()

    def verify(self, token: str) -> Principal:
        """Return the subject of a token. Raises `BadToken`, `TokenExpired`."""
        principal = self._known.get(token)
        if principal is None:
            principal = self._check(token)
            if len(self._known) >= MAX_CACHED:
                del self._known[next(iter(self._known))]
            self._known[token] = principal
        if principal.expires_ms <= self._now_ms():
            self._known.pop(token, None)
            raise TokenExpired("the token has expired")
        if self.is_revoked(principal):
            raise BadToken("the token has been revoked")
        return principal

    def mint(
        self,
        sub: str,
        role: Role,
        *,
        ttl_s: float,
        market: str | None = None,
        markets: Sequence[str] | None = None,
        mall: str | None = None,
        store: str | None = None,
        alias: str | None = None,
        vehicle: messages.Vehicle | None = None,
        equipment: Sequence[str] | None = None,
        qualifications: Sequence[str] | None = None,
    ) -> str:
        """Create a token, signed with the first secret. Raises `ConfigError` if there is none.

        Args:
            sub: whom the token is for.
            role: what its holder may do.
            ttl_s: its lifetime, in seconds.
            market: of a driver.
            markets: of an order service or an operator: the only ones that it reaches.
            mall: of a shop.
            store: the shop, a store of `mall`.
            alias: of a driver: its name for shops and customers.
            vehicle: of a driver: what it may carry at most.
            equipment: of a driver: what it may have with it.
            qualifications: of a driver.
        """
        if not self._keys.secrets:
            raise ConfigError("tokens are signed elsewhere: only a key set is configured")
        now_ms = self._now_ms()
        claims: dict[str, Any] = {
            "sub": sub,
            "role": role.value,
            "aud": TOKEN_AUDIENCE,
            # To the millisecond: a token may follow a revocation within a second.
            "iat": now_ms / 1000,
            "exp": now_ms // 1000 + math.ceil(ttl_s),
        }
        optional = {
            "market": market,
            "markets": markets,
            "mall": mall,
            "store": store,
            "alias": alias,
            "vehicle": vehicle,
            "equipment": equipment,
            "qualifications": qualifications,
        }
        claims |= {name: value for name, value in optional.items() if value is not None}
        return self._jws.encode(msgspec.json.encode(claims), self._keys.secrets[0], "HS256")

    def _check(self, token: str) -> Principal:
        claims = self._claims(token)
        audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if TOKEN_AUDIENCE not in audience:
            raise BadToken(f"the token is not for {TOKEN_AUDIENCE}")
        if not all(EARLIEST_MS <= at_s * 1000 < LATEST_MS for at_s in claims.times_s):
            raise BadToken(f"a time of the token is {OUT_OF_BOUNDS}")
        if max(claims.nbf, claims.iat) > self._now_ms() / 1000 + LEEWAY_S:
            raise BadToken("the token is not valid yet")
        if claims.role is Role.DRIVER and claims.market is None:
            raise BadToken("a driver's token names its market")
        return Principal(
            sub=claims.sub,
            role=claims.role,
            market=claims.market if claims.role in {Role.DRIVER, Role.STORE} else None,
            expires_ms=int(claims.exp * 1000),
            claims=claims.of_driver if claims.role is Role.DRIVER else None,
            shop=_shop(claims),
            markets=_markets(claims),
            issued_ms=round(claims.iat * 1000),
        )

    def _claims(self, token: str) -> _Claims:
        """Return the claims of a token after checking its signature."""
        if len(token) > MAX_TOKEN_CHARS:
            raise BadToken("the token is too long")
        try:
            for secret in self._secrets.get(token.partition(".")[0], ()):
                payload = _signed_payload(token, secret)
                if payload is not None:
                    return _claims(payload)
            header = self._jws.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm in _ALGORITHMS:
                for key in self._keys.candidates(algorithm, key_id):
                    payload = self._payload(token, key, algorithm)
                    if payload is not None:
                        self._remember(token, key)
                        return _claims(payload)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, RecursionError):
            raise BadToken("the token cannot be read") from None
        raise BadToken("the token is not signed by a key that is valid here")

    def _remember(self, token: str, key: bytes | jwt.PyJWK) -> None:
        """Remember that tokens with this header are signed by this secret."""
        if isinstance(key, bytes):
            if len(self._secrets) >= _MAX_HEADERS:
                self._secrets.clear()
            self._secrets.setdefault(token.partition(".")[0], {})[key] = None

    def _payload(self, token: str, key: bytes | jwt.PyJWK, algorithm: str) -> bytes | None:
        try:
            signed: bytes = self._jws.decode_complete(token, key, [algorithm])["payload"]
        except jwt.InvalidSignatureError:
            return None
        return signed


def _signed_payload(token: str, secret: bytes) -> bytes | None:
    """Return the payload of a token that this secret has signed with HS256, in its only spelling.

    PyJWT reads the key and the header again for each token, which took most of a check. It decides
    on everything that is not spelled exactly so.
    """
    signed, _, signature = token.encode().rpartition(b".")
    if not hmac.compare_digest(_base64url(hmac.digest(secret, signed, "sha256")), signature):
        return None
    spelled = signed.partition(b".")[2]
    try:
        payload = base64.urlsafe_b64decode(spelled + b"=" * (-len(spelled) % 4))
    except binascii.Error:
        return None
    return payload if _base64url(payload) == spelled else None


def _base64url(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def _markets(claims: _Claims) -> frozenset[str] | None:
    """Return the markets that bound an order service's or an operator's token; None: none do."""
    is_bounded = claims.role in {Role.ORDERS, Role.OPERATOR} and claims.markets is not None
    return frozenset(claims.markets or ()) if is_bounded else None


def _shop(claims: _Claims) -> Shop | None:
    """Return the shop of a counter's token; None for other roles."""
    if claims.role is not Role.STORE:
        return None
    if claims.mall is None or claims.store is None:
        raise BadToken("a shop's token names its mall and its store")
    return Shop(claims.mall, claims.store)


def bearer(headers: Sequence[str]) -> str:
    """Return the token of a request's `Authorization` headers. Raises `BadToken` without one."""
    if len(headers) != 1:
        raise BadToken("one Authorization header with a bearer token is needed")
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BadToken("the Authorization header holds no bearer token")
    return token.strip()


def _wall_ms() -> int:
    return int(time.time() * 1000)
