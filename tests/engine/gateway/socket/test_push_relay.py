"""The relay between the push streams and the hub."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest

from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.push_relay import Relay
from mallard_engine.ports import (
    OwnDriver,
    Push,
    PushEntry,
    PushKind,
    PushSink,
    StoreUnavailable,
    TakenBack,
)
from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState
from tests.support import eventually


class Streams:
    """Push streams in memory. A cursor is the number of entries read."""

    def __init__(self) -> None:
        self.pushed: dict[str, list[Push]] = {}
        self.asked: list[dict[str, str]] = []
        self.down = False
        self.fault: Exception | None = None
        self._news = asyncio.Event()

    def push(self, market: str, *seqs: int) -> None:
        self.pushed.setdefault(market, []).extend(Push("d1", seq, PushKind.STATE) for seq in seqs)
        self._news.set()

    def deliver_to(self, sink: PushSink, reply_lost: Callable[[str], None]) -> None: ...

    async def head(self, market: str) -> str:
        return f"{len(self.pushed.get(market, []))}-0"

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        self.asked.append(dict(cursors))
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("down")
        if self.fault:
            raise self.fault
        found = [
            PushEntry(market, f"{place + 1}-0", push)
            for market, cursor in cursors.items()
            for place, push in enumerate(self.pushed.get(market, []))
            if place >= int(cursor.removesuffix("-0"))
        ]
        if not found:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), 0.01)
            except TimeoutError:
                return []
        return found


class Ear:
    shown = DriverState.OFFLINE
    epoch = 1

    def __init__(self) -> None:
        self.heard: list[int] = []

    def push(self, push: Push) -> None:
        self.heard.append(push.seq)

    owes_hello = False

    async def ask_hello(self) -> None: ...

    def hold(self) -> OwnDriver | None: ...

    async def restore(self, taken: TakenBack, *, rewound: bool) -> None: ...

    def drain(self, reconnect_after_ms: int) -> None: ...

    def end_if_revoked(self) -> None: ...

    def end(self, code: Close) -> None: ...


@pytest.fixture
def streams() -> Streams:
    return Streams()


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
async def relay(streams: Streams, hub: Hub) -> AsyncIterator[Relay]:
    relay = Relay(streams, hub, sleep=lambda _: asyncio.sleep(0))
    relay.start()
    yield relay
    await relay.stop()


async def test_every_push_after_follow_is_relayed(relay: Relay, streams: Streams, hub: Hub) -> None:
    ear = Ear()
    streams.push("phoenix", 1, 2)
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.push("phoenix", 3)
    streams.push("las-vegas", 4)
    streams.push("phoenix", 5)
    await eventually(lambda: ear.heard == [3, 5])
    assert all("las-vegas" not in asked for asked in streams.asked)


async def test_no_push_is_lost_during_an_outage(relay: Relay, streams: Streams, hub: Hub) -> None:
    ear = Ear()
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.down = True
    streams.push("phoenix", 1, 2)
    calls = len(streams.asked)
    await eventually(lambda: len(streams.asked) > calls + 3)
    assert ear.heard == []
    streams.down = False
    await eventually(lambda: ear.heard == [1, 2])


async def test_no_push_is_lost_by_an_unexpected_error(
    relay: Relay, streams: Streams, hub: Hub
) -> None:
    ear = Ear()
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.fault = RuntimeError("a reply that nobody expected")
    streams.push("phoenix", 1, 2)
    calls = len(streams.asked)
    await eventually(lambda: len(streams.asked) > calls + 1)
    streams.fault = None
    await eventually(lambda: ear.heard == [1, 2])


async def test_market_without_drivers_is_not_read(relay: Relay, streams: Streams, hub: Hub) -> None:
    ear = Ear()
    hub.add("phoenix", "d1", ear)
    hub.add("las-vegas", "d1", ear)
    await relay.follow("phoenix")
    await relay.follow("las-vegas")
    await eventually(lambda: streams.asked and len(streams.asked[-1]) == 2)
    hub.remove("las-vegas", "d1", ear)
    await eventually(lambda: streams.asked[-1].keys() == {"phoenix"})
    hub.remove("phoenix", "d1", ear)
    calls = len(streams.asked)
    await relay.follow("phoenix")
    streams.push("phoenix", 1)
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.push("phoenix", 2)
    await eventually(lambda: 2 in ear.heard)
    assert len(streams.asked) > calls


@pytest.mark.finding("B4")
async def test_rewound_stream_is_read_from_its_new_end(
    relay: Relay, streams: Streams, hub: Hub
) -> None:
    """The old cursor lies ahead of the entries that Redis now has."""
    ear = Ear()
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.push("phoenix", 1, 2, 3)
    await eventually(lambda: ear.heard == [1, 2, 3])
    del streams.pushed["phoenix"][1:]
    await relay.rewind("phoenix")
    streams.push("phoenix", 12)
    await eventually(lambda: ear.heard == [1, 2, 3, 12])
    await relay.rewind("las-vegas")
    assert "las-vegas" not in relay._cursors


async def test_settled_waits_for_what_was_pushed_before(
    relay: Relay, streams: Streams, hub: Hub
) -> None:
    ear = Ear()
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.down = True
    streams.push("phoenix", 1, 2)
    settled = asyncio.create_task(relay.settled("phoenix"))
    calls = len(streams.asked)
    await eventually(lambda: len(streams.asked) > calls + 3)
    assert not settled.done()
    streams.down = False
    await settled
    assert ear.heard == [1, 2]


async def test_settled_ends_when_the_market_is_left(
    relay: Relay, streams: Streams, hub: Hub
) -> None:
    ear = Ear()
    hub.add("phoenix", "d1", ear)
    await relay.follow("phoenix")
    streams.down = True
    streams.push("phoenix", 1)
    settled = asyncio.create_task(relay.settled("phoenix"))
    hub.remove("phoenix", "d1", ear)
    await settled
    assert ear.heard == []
