"""Attacks with a valid token of an order service or a driver, and with guessed tokens."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgpack
from websockets.frames import Opcode

from load_tests.attacks.caller import Caller
from load_tests.attacks.frames import MSGPACK, masked, open_socket
from load_tests.attacks.registry import Streams, Victim, attack

# More than a round of a mall once read.
_UNSERVABLE: Final = 1_100
# Jobs that an attack leaves in the queues expire before the control run.
_QUEUED_FOR_S: Final = 25
_LATER_S: Final = 7_200
_AT_ONCE: Final = 2_500
_WAITERS: Final = 1_000
_WAIT_S: Final = 20
_JOBS: Final = 5_000
_STREAMS: Final = 60
_REOPENED: Final = 200
# 59 KiB: characters of four bytes, as a value has at most 500 of them.
_METADATA: Final = {f"note-{number}": "\N{DUCK}" * 500 for number in range(30)}
_FEW_CONNECTIONS: Final = 8
_MANY_CONNECTIONS: Final = 125
_CREATED: Final = 201

Ask = Callable[[Caller], Awaitable[Any]]


@attack("A7")
async def queue_that_no_driver_can_serve(victim: Victim) -> None:
    """Orders for one mall that need what no driver carries, until they expire."""
    order = _unservable(victim)
    await _side_by_side(victim, _UNSERVABLE, lambda caller: caller.ask("POST", "/v1/jobs", order()))
    await asyncio.sleep(_QUEUED_FOR_S)


@attack("A9", counter='mallard_requests_limited_total{kind="token"}')
async def requests_at_once_by_one_token(victim: Victim) -> None:
    """Reads by one token over many connections."""
    await _side_by_side(
        victim,
        _AT_ONCE,
        lambda caller: caller.ask("GET", "/v1/jobs?limit=1"),
        connections=_MANY_CONNECTIONS,
    )


@attack("A9", counter='mallard_requests_limited_total{kind="token"}')
async def quotes_by_one_token(victim: Victim) -> None:
    """Quotes, each of which ranks drivers and keeps nothing."""
    order = _unservable(victim)
    await _side_by_side(victim, _AT_ONCE, lambda caller: caller.ask("POST", "/v1/quotes", order()))


@attack("A9", counter='mallard_requests_limited_total{kind="address"}')
async def bad_tokens(victim: Victim) -> None:
    """Requests with a new unsigned token each time."""

    async def guess(caller: Caller) -> None:
        caller.token = f"eyJhbGciOiJIUzI1NiJ9.e30.{victim.rng.getrandbits(256):x}"
        await caller.ask("GET", "/v1/jobs")

    await _side_by_side(victim, _AT_ONCE, guess)


@attack("A9", counter='mallard_requests_limited_total{kind="waits"}')
async def requests_that_wait(victim: Victim) -> None:
    """Requests that wait for a job to change, many more than a service may have."""
    order = _unservable(victim)
    caller = Caller(victim, victim.token)
    try:
        status, answer = await caller.ask("POST", "/v1/jobs", order())
    finally:
        caller.hang_up()
    if status == _CREATED:
        path = f"/v1/jobs/{json.loads(answer)['id']}?wait_s={_WAIT_S}"
        await _side_by_side(
            victim, _WAITERS, lambda caller: caller.ask("GET", path), connections=_WAITERS // 4
        )
    await asyncio.sleep(1)


@attack("A9", counter='mallard_requests_limited_total{kind="connects"}')
async def reconnects_of_one_driver(victim: Victim) -> None:
    """A driver who connects and disconnects repeatedly."""
    market = victim.places.flash_mall.market
    token = victim.credentials.driver(f"reconnects-{victim.address}", market).token
    reader, writer = await open_socket(victim, MSGPACK, token)
    try:
        writer.write(masked(msgpack.packb({"type": "hello"}), Opcode.BINARY))
        async with asyncio.timeout(_WAIT_S):
            answer = await reader.read(4_096)
        victim.done["closed" if answer[:1] in {b"", b"\x88"} else "answered"] += 1
    finally:
        writer.transport.abort()


@attack("A10", counter='mallard_quota_refusals_total{quota="open_jobs"}')
async def jobs_without_end(victim: Victim) -> None:
    """Jobs of one service until its quota is used up, and on."""
    await _side_by_side(victim, _JOBS, _scheduled(victim))


@attack("A10", counter='mallard_quota_refusals_total{quota="stored_bytes"}', service="A10-bytes")
async def jobs_with_long_metadata(victim: Victim) -> None:
    """Jobs with 59 KiB of metadata each."""
    await _side_by_side(victim, _JOBS, _scheduled(victim, metadata=_METADATA), connections=2)


@attack("E1", counter='mallard_requests_limited_total{kind="streams"}')
async def event_streams_of_one_token(victim: Victim) -> None:
    """Many more event streams than a token may have, all held open."""
    callers: list[Streams] = []
    try:
        for _ in range(_STREAMS):
            callers += [await _open_stream(victim)]
        await asyncio.sleep(1)
    finally:
        for _, writer in callers:
            writer.transport.abort()


@attack("E1", at_once=2)
async def event_streams_reopened(victim: Victim) -> None:
    """Streams that begin with the oldest event, and are dropped and opened again at once."""
    for _ in range(_REOPENED):
        _, writer = await _open_stream(victim, f"&after=evt_{victim.places.flash_mall.market}.0-0")
        writer.transport.abort()


async def _open_stream(victim: Victim, query: str = "") -> Streams:
    """Open an event stream; the status of its answer is counted."""
    reader, writer = await victim.connect()
    market = victim.places.flash_mall.market
    writer.write(
        f"GET /v1/events?market={market}{query} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {victim.token}\r\n\r\n".encode()
    )
    try:
        async with asyncio.timeout(_WAIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        victim.done["closed"] += 1
    else:
        victim.done[head[9:12].decode()] += 1
    return reader, writer


async def _side_by_side(
    victim: Victim, count: int, ask: Ask, *, connections: int = _FEW_CONNECTIONS
) -> None:
    """Ask that many times, over so many connections of one token. The first failure ends it."""
    callers = [Caller(victim, victim.token) for _ in range(connections)]
    left = itertools.repeat(None, count)

    async def use(caller: Caller) -> None:
        for _ in left:
            await ask(caller)

    try:
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(use(caller))
    except* OSError as lost:
        raise ConnectionError from lost
    finally:
        for caller in callers:
            caller.hang_up()


def _unservable(victim: Victim) -> Callable[[], dict[str, Any]]:
    """Return what makes an order that no driver can take and that expires soon."""
    order = victim.places.order(victim.rng, victim.places.flash_mall) | {"requires": ["forklift"]}

    def make() -> dict[str, Any]:
        return order | {"dropoff": order["dropoff"] | {"deadline": _in(_QUEUED_FOR_S)}}

    return make


def _scheduled(victim: Victim, **more: Any) -> Ask:
    """Return what posts an order for later: it is stored, and no round looks at it."""
    order = victim.places.order(victim.rng, victim.places.flash_mall) | more
    order["pickup"]["stores"][0] |= {"ready_at": _in(_LATER_S)}
    return lambda caller: caller.ask("POST", "/v1/jobs", order)


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
