"""The list of attacks, and their view of the engine under attack."""

import asyncio
import importlib
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from load_tests.credentials import Credentials
from load_tests.places import RunPlaces

MODULES: Final = tuple(f"load_tests.attacks.{name}" for name in ("frames", "http", "services"))
"""The modules that hold attacks."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CONNECT_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Victim:
    """The engine under attack, as one attacker sees it.

    `address` is the loopback address that the attacker comes from: not the one that drivers and the
    neighbour use, as a real attacker's would not be. `credentials` mint tokens for attacks
    with a valid one; `token` is that of the attack's order service.
    `places`: the engine's malls. `done` counts what the attack did, for the report.
    """

    host: str
    port: int
    address: str
    credentials: Credentials
    token: str
    places: RunPlaces
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)

    async def connect(
        self, *, address: str | None = None, receive_buffer: int | None = None
    ) -> Streams:
        """Open a connection. Raises `OSError`.

        `receive_buffer`: bytes of the kernel's buffer, for an attacker that does not read.
        """
        loop = asyncio.get_running_loop()
        raw = socket_from(address or self.address)
        try:
            if receive_buffer is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await loop.sock_connect(raw, (self.host, self.port))
            return await asyncio.open_connection(sock=raw)
        except BaseException:
            raw.close()
            raise


def socket_from(address: str) -> socket.socket:
    """Return a TCP socket that comes from a loopback address."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setblocking(False)
    try:
        raw.bind((address, 0))
    except OSError:
        raw.close()
        raise
    return raw


Round = Callable[[Victim], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of attack. `at_once`: how many attackers play it side by side.

    `service`: the order service that they pretend to be. The attacks of a row are one service, but
    for those that would use up each other's quotas.
    `counter`: what the engine counts it by, as `/metrics` shows it; None where the engine has
    nothing to refuse.
    """

    row: str
    name: str
    play: Round
    at_once: int
    counter: str | None
    service: str


_attacks: dict[str, Attack] = {}


def attack(
    row: str, *, at_once: int = 1, counter: str | None = None, service: str = ""
) -> Callable[[Round], Round]:
    """Register a function as an attack of a row of the list of faults."""

    def register(play: Round) -> Round:
        name = play.__name__
        if name in _attacks:
            raise ValueError(f"two attacks are called {name}")
        _attacks[name] = Attack(row, name, play, at_once, counter, service or row)
        return play

    return register


def attacks() -> list[Attack]:
    """Return every attack, in the order of their rows."""
    for module in MODULES:
        importlib.import_module(module)
    return sorted(_attacks.values(), key=lambda it: (it.row, it.name))
