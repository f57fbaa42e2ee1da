"""Connections of deliveries: each goes to an address that has just been checked.

`httpcore2` opens its connections through a network backend. This one resolves the host, keeps the
addresses that `Destinations` admits and connects to one of them, so nothing is resolved a second
time. TLS still checks the certificate against the host's name.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpcore2

from mallard_engine.core.webhooks.destinations import Address, Destinations, address_of

# A name server that does not answer occupies a thread; others must not wait for it.
_RESOLVERS: Final = 32
_MOST_TRIED: Final = 3

Resolve = Callable[[str], Awaitable[Sequence[Address]]]


class NameNotFound(Exception):
    """The host has no address."""


class AddressRefused(Exception):
    """The host has no address that deliveries may go to."""


class Resolver:
    """Resolves names with the system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="webhook-names")

    async def __call__(self, host: str) -> Sequence[Address]:
        """Return the addresses of a name, in the system's order.

        Raises:
            NameNotFound: it has none.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host)
        except (OSError, UnicodeError):
            raise NameNotFound(host) from None
        return found

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> Sequence[Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(address[0]) for *_, address in found]


async def admitted(
    host: str, scheme: str, destinations: Destinations, resolve: Resolve
) -> Sequence[Address]:
    """Return the addresses of a host that deliveries may go to.

    Raises:
        NameNotFound: it has no address.
        AddressRefused: it has addresses, and deliveries may go to none of them.
    """
    literal = address_of(host)
    addresses = await resolve(host) if literal is None else (literal,)
    good = [it for it in addresses if destinations.admits(it, scheme)]
    if not good:
        raise AddressRefused(host)
    return good


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Opens the connections of one scheme.

    Args:
        scheme: `https` or `http`.
        destinations: where they may go.
        resolve: resolves a name.
        network: opens a connection to an address.
    """

    def __init__(
        self,
        scheme: str,
        destinations: Destinations,
        resolve: Resolve,
        network: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._scheme = scheme
        self._destinations = destinations
        self._resolve = resolve
        self._network = network or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to an admitted address of a host.

        Raises:
            NameNotFound: it has no address.
            AddressRefused: deliveries may go to none of its addresses.
        """
        addresses = await admitted(host, self._scheme, self._destinations, self._resolve)
        failure: httpcore2.ConnectError | None = None
        for address in addresses[:_MOST_TRIED]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except httpcore2.ConnectError as error:
                failure = error
        raise failure or httpcore2.ConnectError(host)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
