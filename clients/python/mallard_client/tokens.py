"""The source of a client's bearer token: a fixed token, or a provider with a rate limit."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from mallard_client.driver.clock import Clock
from mallard_client.errors import NoToken

TokenProvider = Callable[[], str | Awaitable[str]]
Sleep = Callable[[float], Awaitable[object]]

_PROVIDED_WITHIN_S: Final = 30.0
_FIRST_GAP_S: Final = 1.0
_LONGEST_GAP_S: Final = 30.0


class TokenSource:
    """A fixed token, or a provider that is called when the old one expires.

    Calls of the provider are at least a second apart. If a call fails or returns the same token,
    the gap doubles, up to 30 s.
    """

    def __init__(self, token: str | TokenProvider, clock: Clock, sleep: Sleep) -> None:
        self.renewable = not isinstance(token, str)
        self._provider: TokenProvider = token if callable(token) else lambda: token
        self._clock = clock
        self._sleep = sleep
        self._asking = asyncio.Lock()
        self._asked_at_ms: int | None = None
        self._gap_s = _FIRST_GAP_S
        self._token: str | None = None
        self._expired: str | None = None

    @property
    def known(self) -> str | None:
        """The token in use."""
        return self._token

    async def current(self) -> str:
        """The token in use; the provider is asked only when there is none. Raises `NoToken`."""
        return self._token if self._token is not None else await self.fresh()

    async def fresh(self) -> str:
        """Ask the provider for another token; a fixed one stays what it is. Raises `NoToken`.

        The provider may give the one in use again; one that has expired is an error.
        """
        if not self.renewable:
            self._token = await self._ask()
            return self._token
        async with self._asking:
            await self._pause()
            self._asked_at_ms = self._clock.uptime_ms()
            self._gap_s = min(self._gap_s * 2, _LONGEST_GAP_S)
            token = await self._ask()
            if token == self._expired:
                raise NoToken("the token provider gave the expired token again")
            if token != self._token:
                self._gap_s = _FIRST_GAP_S
            self._token = token
            return token

    async def other_than(self, token: str | None) -> str:
        """As `fresh`, but the token that expires soon is an error too. Raises `NoToken`."""
        fresh = await self.fresh()
        if fresh == token:
            raise NoToken("the token provider gave the expiring token again")
        return fresh

    def expired(self, token: str) -> None:
        """Mark a token as expired. If it is the one in use, the next call asks the provider."""
        self._expired = token
        if self._token == token:
            self._token = None

    async def _pause(self) -> None:
        if self._asked_at_ms is None:
            return
        passed_s = (self._clock.uptime_ms() - self._asked_at_ms) / 1000
        if passed_s < self._gap_s:
            await self._sleep(self._gap_s - passed_s)

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(_PROVIDED_WITHIN_S):
                provided = self._provider()
                token: object = provided if isinstance(provided, str) else await provided
        except Exception as error:
            raise NoToken(f"the token provider failed: {error!r}") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise NoToken("the token provider was cancelled") from error
        if not isinstance(token, str) or not token:
            raise NoToken("the token provider gave no token")
        return token
