"""Finds the master of a service by asking the Sentinels, and notices failovers."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.address import Address, Group, P
from mallard_engine.tasks import cancel, in_full

_SENTINEL_PORT: Final = 26379
# How long to wait for all Sentinels. After that, one that knows the master is enough, so that a
# silent one delays no call. Open requests are then cancelled.
_ASK_S: Final = 0.4
# How long to wait for the first that knows it: on a busy machine a TLS handshake may take seconds.
_SLOW_S: Final = 8.0
# How often the Sentinels are asked while a connection is open.
_LOOK_S: Final = 0.5
_ADDRESS: Final = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")
_OWN_OPTIONS: Final = frozenset({"username", "password"})


@dataclass(frozen=True, slots=True)
class KnownMaster:
    """The master as a Sentinel knows it, and the epoch of the failover that made it one."""

    epoch: int
    host: str
    port: int
    is_down: bool
    down_after_ms: int


class SentinelWay:
    """The way to the master of a service, `redis+sentinel://HOST:PORT,…/SERVICE[?db=N]`.

    User, password, database and TLS are those of the Redis servers. `sentinel_username` and
    `sentinel_password` are for the Sentinels; `rediss+sentinel://` is TLS with both.

    A Sentinel turns a master that was replaced in a planned failover into a replica only after
    seconds: meanwhile it takes writes that are lost. So a connection asks about failovers and ends
    after one.
    """

    moves: Final = True
    asks: Final = True

    def __init__(self, group: Group) -> None:
        self._service = group.path
        self._server = group.server
        self._group = group
        self._epoch = 0
        # When it was last found to have risen, and when the Sentinels were last asked.
        self._risen_s = 0.0
        self._asked_s = 0.0
        # After how long a Sentinel calls a silent server dead, as the first one said that answered.
        self.down_after_ms: int | None = None
        self.master: Address | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. Raises `ValueError`."""
        group = Group.parse(url, port=_SENTINEL_PORT, prefix="sentinel_")
        if not group.path or "/" in group.path:
            raise ValueError("name one service: redis+sentinel://HOST:PORT,…/SERVICE")
        if unknown := group.extra.keys() - _OWN_OPTIONS:
            raise ValueError(f"there is no parameter sentinel_{min(unknown)}")
        return cls(group)

    def __str__(self) -> str:
        """Return the address without secrets, for messages and logs."""
        return f"{self.master or 'unknown'} ({self._service} of the Sentinels {self._group})"

    async def open(self, protocol: Callable[[], P]) -> tuple[P, int]:
        """Connect to the master. Raises `OSError` or `StoreUnavailable`."""
        found = await self.ask()
        self.master = self._server.at(found.host, found.port)
        return (await self.master.open(protocol))[0], found.epoch

    def introduction(self, name: str) -> list[tuple[str | int, ...]]:
        """Return the commands that open a connection."""
        return self._server.introduction(name)

    @property
    def known_failovers(self) -> int:
        """The number of the last failover, as of the last answers."""
        return self._epoch

    async def failovers(self) -> int:
        """Return the number of the last failover, as of half a second ago at most.

        While no Sentinel answers, it is the one that was known before.
        """
        now_s = asyncio.get_running_loop().time()
        if now_s > self._asked_s + _LOOK_S:
            with contextlib.suppress(StoreUnavailable):
                await self.ask(enough=len(self._group.hosts) // 2 + 1)
        return self._epoch

    async def ask(self, enough: int = 1) -> KnownMaster:
        """Return the master. Raises `StoreUnavailable`.

        Every Sentinel is asked: some may not know of the last failover. Each failover has a higher
        epoch, for which a majority has voted. A minority that knows a lower epoch than was known
        before is not believed. A majority is: the group was set up anew, unless the higher epoch
        became known only after the request.

        Args:
            enough: How many Sentinels that know a live master make waiting for slow ones needless.
                So does one that knows of another failover.
        """
        clock = asyncio.get_running_loop().time
        asked_s = self._asked_s = clock()
        answers = await self._ask_all(enough)
        known = [each for each in answers if isinstance(each, KnownMaster)]
        if not known and None not in answers:
            raise StoreUnavailable(f"the Sentinels {self._group}: {answers[0]}")
        if known:
            self.down_after_ms = known[0].down_after_ms
        epochs = [each.epoch for each in known]
        is_majority = 2 * len(known) > len(self._group.hosts) and asked_s >= self._risen_s
        epoch = max(epochs if is_majority else [self._epoch, *epochs])
        self._risen_s = clock() if epoch > self._epoch else self._risen_s
        self._epoch = epoch
        for each in known:
            if each.epoch == self._epoch and not each.is_down:
                return each
        raise StoreUnavailable(
            f"no Sentinel of {self._group} knows a live master named {self._service}"
        )

    async def _ask_all(self, enough: int) -> list[KnownMaster | str | None]:
        """Return the answers in the order of the hosts; those that came too late are errors."""
        asked = [asyncio.ensure_future(self._ask_one(host)) for host in self._group.hosts]

        def is_enough() -> bool:
            answers = [it.result() for it in asked if it.done()]
            live = [it for it in answers if isinstance(it, KnownMaster) and not it.is_down]
            return len(live) >= enough or any(it.epoch > self._epoch for it in live)

        try:
            _, slow = await asyncio.wait(asked, timeout=_ASK_S)
            while slow and not is_enough():
                _, slow = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
            return [it.result() if it.done() else "no answer in time" for it in asked]
        finally:
            await cancel(*asked)

    async def _ask_one(self, host: tuple[str, int]) -> KnownMaster | str | None:
        """Return the master that a Sentinel knows, None, or why it does not answer."""
        options: dict[str, Any] = {**self._group.options, **self._group.extra}
        sentinel: Any = redis.asyncio.Redis(
            host=host[0],
            port=host[1],
            socket_timeout=_SLOW_S,
            socket_connect_timeout=_SLOW_S,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        try:
            async with asyncio.timeout(_SLOW_S):
                # The epoch first: the address is then of this failover or of a later one.
                state = await sentinel.sentinel_master(self._service)
                found = await sentinel.execute_command(*_ADDRESS, self._service)
        except redis.ResponseError as error:
            return None if "No such master" in str(error) else str(error)
        except TimeoutError:
            return "no answer in time"
        except redis.RedisError as error:
            return str(error)
        finally:
            await in_full(sentinel.aclose())
        if found is None:
            return None
        name, port = found[0].decode(), int(found[1])
        # During a failover the state is still that of the former master.
        is_same = (name, port) == (state["ip"], int(state["port"]))
        is_down = is_same and (state["is_sdown"] or state["is_odown"])
        down_after_ms = int(state["down-after-milliseconds"])
        return KnownMaster(state["config-epoch"], name, port, is_down, down_after_ms)
