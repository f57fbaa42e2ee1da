"""A minimal dispatcher: the round trips of the engine and none of its logic.

An order is stored, offered to the next connected driver in turn, acknowledged, accepted and carried
out in three steps; each is one call to Redis and one frame. Nothing is checked, no driver is chosen
and nothing is guaranteed: the engine's cost beside it is the cost of its guarantees.

`--store pool` uses Redis as most programs do, `--store line` as cheaply as Python can. ``python -m
load_tests.benchmarks.peers.minimal --port 8001 --markets markets.json --redis redis.sock``
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from load_tests.benchmarks.peers.calls import Calls, Line, Pool
from load_tests.benchmarks.peers.serving import (
    Message,
    Receive,
    Send,
    add_serving_flags,
    body_of,
    respond,
    serve,
)
from load_tests.frames import SUBPROTOCOL
from mallard_protocol import messages
from mallard_protocol.fields import JobStateName

_FLUSH_S: Final = 0.2  # as the engine gathers positions
_MAX_BATCH: Final = 256
_OFFER_FOR_MS: Final = 30_000
_DRIVERS: Final = "drivers"
_POSITIONS: Final = "positions"
_STATE_AFTER: Final[Mapping[str, JobStateName]] = {
    "at_mall": "at_mall",
    "picked_up": "picked_up",
    "delivered": "delivered",
}


class Pickup(msgspec.Struct):
    """The part of an order that an offer shows."""

    mall: str
    stores: list[dict[str, Any]]


class Point(msgspec.Struct):
    """Where to deliver."""

    lat: float
    lon: float


class Order(msgspec.Struct):
    """What is read of an order."""

    pickup: Pickup
    dropoff: Point


class Minimal:
    """The program."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._numbers = itertools.count(1)
        self._turns = itertools.count()
        self._drivers: list[Send] = []
        self._jobs: dict[str, messages.SocketJob] = {}  # by their offer, then by themselves
        self._fixes: dict[str, messages.Fix] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(messages.ClientMessage).decode
        self._decode_order = msgspec.json.Decoder(Order).decode

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request or a socket."""
        if scope["type"] == "websocket":
            await self._drive(receive, send)
        else:
            await self._submit(await body_of(receive), send)

    # -- orders

    async def _submit(self, body: bytes, send: Send) -> None:
        order = self._decode_order(body)
        name = f"job_minimal.{next(self._numbers):012}"
        job = _job(name, order)
        # The engine's way: the order and the search leave together, the offer follows.
        await asyncio.gather(
            self._calls.call("HSET", name, "body", body, "state", "queued"),
            self._calls.call("HGET", _DRIVERS, name),
        )
        await self._offer(job)
        await respond(send, 201, msgspec.json.encode({"id": name, "state": "queued"}))

    async def _offer(self, job: messages.SocketJob) -> None:
        if not self._drivers:
            return
        number = next(self._turns)
        offer, now_ms = f"offer-{number}", _now_ms()
        self._jobs[offer] = job
        await self._calls.call("HSET", job.job, "state", "offered", "offer", offer)
        offer_message = messages.Offer(
            seq=number,
            offer=offer,
            attempt=1,
            jobs=(job,),
            mall=job.mall,
            eta_s=300,
            distance_m=2000,
            expires_ms=now_ms + _OFFER_FOR_MS,
            server_time_ms=now_ms,
        )
        driver = self._drivers[number % len(self._drivers)]
        await driver({"type": "websocket.send", "bytes": self._encode(offer_message)})

    # -- drivers

    async def _drive(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        name = f"driver-{next(self._numbers)}"
        try:
            while (event := await receive())["type"] == "websocket.receive":
                answer = await self._answer(name, self._decode(event["bytes"]), send)
                if answer is not None:
                    await send({"type": "websocket.send", "bytes": self._encode(answer)})
        finally:
            if send in self._drivers:
                self._drivers.remove(send)

    async def _answer(
        self, name: str, said: messages.ClientMessage, send: Send
    ) -> messages.ServerMessage | None:
        answer: messages.ServerMessage | None = None
        match said:
            case messages.Location():
                self._locate(name, said.fixes[-1])
            case messages.OfferAck():
                await self._calls.call("HSET", self._jobs[said.offer].job, "acked", 1)
            case messages.Accept():
                job = self._jobs.pop(said.offer)
                self._jobs[job.job] = job
                await self._calls.call("HSET", job.job, "state", "assigned", "driver", name)
                answer = messages.Reply(id=said.id, state="on_run", jobs=(job,))
            case messages.Decline():
                await self._decline(said, send)
            case messages.Progress():
                answer = await self._progress(said)
            case messages.Hello():
                self._drivers.append(send)
                await self._calls.call("HSET", _DRIVERS, name, "available")
                answer = _welcome(name)
        return answer

    async def _decline(self, said: messages.Decline, send: Send) -> None:
        job = self._jobs.pop(said.offer)
        await self._calls.call("HSET", job.job, "state", "queued")
        answer = messages.Reply(id=said.id, state="available")
        await send({"type": "websocket.send", "bytes": self._encode(answer)})
        await self._offer(job)

    async def _progress(self, said: messages.Progress) -> messages.Reply:
        state = _STATE_AFTER[said.step]
        await self._calls.call("HSET", said.job, "state", state)
        if state == "delivered":
            self._jobs.pop(said.job, None)
        return messages.Reply(
            id=said.id, state="on_run", job=said.job, job_state=state, attempt=said.attempt
        )

    def _locate(self, name: str, fix: messages.Fix) -> None:
        self._fixes[name] = fix
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(_FLUSH_S)
        fixes, self._fixes, self._flusher = self._fixes, {}, None
        waiting = iter(fixes.items())
        while batch := list(itertools.islice(waiting, _MAX_BATCH)):
            geo: list[str | bytes | float] = []
            records: list[str | bytes | float] = []
            for name, fix in batch:
                geo += (fix[2], fix[1], name)
                records += (name, self._encode(fix))
            await asyncio.gather(
                self._calls.call("GEOADD", _POSITIONS, *geo),
                self._calls.call("HSET", "fixes", *records),
            )


def _job(name: str, order: Order) -> messages.SocketJob:
    now_ms = _now_ms()
    mall = messages.MallRef(
        id=order.pickup.mall,
        name=order.pickup.mall,
        lat=order.dropoff.lat,
        lon=order.dropoff.lon,
        gate="north",
        gate_lat=order.dropoff.lat,
        gate_lon=order.dropoff.lon,
    )
    stores = tuple(
        messages.StoreVisit(visit["store"], visit["store"], "north", 0, now_ms, 1)
        for visit in order.pickup.stores
    )
    return messages.SocketJob(
        job=name,
        attempt=1,
        state="assigned",
        mall=mall,
        stores=stores,
        dropoff=messages.DropOff(
            lat=order.dropoff.lat, lon=order.dropoff.lon, deadline_ms=now_ms + 86_400_000
        ),
        parcels=messages.ParcelLoad(count=1, weight_g=900, volume_l=4),
        requires=(),
        eta=messages.JobEta(pickup_ms=now_ms, dropoff_ms=now_ms),
    )


def _welcome(name: str) -> messages.Welcome:
    return messages.Welcome(
        session=name,
        driver=name,
        market="minimal",
        seq=0,
        server_time_ms=_now_ms(),
        ping_ms=25_000,
        location_ms=4_000,
        max_bytes=16_384,
        token_expires_ms=_now_ms() + 86_400_000,
        state="available",
        offer=None,
        jobs=(),
    )


def _now_ms() -> int:
    return round(time.time() * 1000)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks.peers.minimal", description=__doc__
    )
    add_serving_flags(parser)
    parser.add_argument("--redis", type=Path, required=True, help="its socket")
    parser.add_argument("--store", choices=("pool", "line"), default="pool")
    options = parser.parse_args()
    calls: Calls = Pool(options.redis) if options.store == "pool" else Line(options.redis)
    serve(Minimal(calls), options)


if __name__ == "__main__":
    main()
