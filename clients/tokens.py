"""Where a client's bearer token comes from."""

from collections.abc import Awaitable, Callable

from clients.errors import NoToken

TokenProvider = Callable[[], str | Awaitable[str]]


class TokenSource:
    """A fixed token, or a provider that is asked for another one when the old one runs out."""

    def __init__(self, token: str | TokenProvider) -> None:
        self.renewable = not isinstance(token, str)
        self._provider: TokenProvider = token if callable(token) else lambda: token
        self._token: str | None = None

    async def current(self) -> str:
        """The token in use; the provider is asked only when there is none. Raises `NoToken`."""
        return self._token if self._token is not None else await self.fresh()

    async def fresh(self) -> str:
        """Ask the provider for another token; a fixed one stays what it is. Raises `NoToken`."""
        try:
            given = self._provider()
            self._token = given if isinstance(given, str) else await given
        except Exception as error:
            raise NoToken(f"the token provider failed: {error!r}") from error
        return self._token

    def forget(self) -> None:
        """The token is of no use any more: ask the provider next time."""
        self._token = None
