"""The port `SignInCodes` on Redis: one key a code, which expires by itself."""

from collections.abc import Awaitable, Callable
from typing import Any

from mallard_engine.ports import SignInCodes

Call = Callable[..., Awaitable[Any]]


class RedisSignInCodes(SignInCodes):
    """One-time codes on Redis.

    Args:
        call: Sends a command, as `Link.call`.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def keep(self, name: str, sealed: bytes, ttl_ms: int) -> None:
        await self._call("SET", _key(name), sealed, "PX", ttl_ms)

    async def take(self, name: str) -> bytes | None:
        # One command: if two callers present the same code, only one gets the token.
        sealed: bytes | None = await self._call("GETDEL", _key(name))
        return sealed


def _key(name: str) -> str:
    return f"mallard:code:{name}"
