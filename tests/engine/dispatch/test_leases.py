"""Nodes share the markets' maintenance, and take, renew and give up leases."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b

import pytest
from structlog.testing import capture_logs

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.confirmed import Confirmed
from mallard_engine.dispatch.context import Context
from mallard_engine.dispatch.leases import NodeLeases
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Beat, Look, Peers, StoreUnavailable
from mallard_engine.storage.calls.leases import LEASE_MS
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import PLACES
from tests.support import eventually

MARKETS = tuple(sorted(f"market-{number}" for number in range(40)))

Member = Callable[..., Awaitable["Sharer"]]
Meet = Callable[..., Awaitable[Peers]]


async def _claim_nothing(*_: object) -> None: ...


class Clock:
    """The clock of Redis, which may be set, and that of a node, which may not."""

    now_ms = 1_800_000_000_000
    set_ms = 0

    def __call__(self) -> int:
        return self.now_ms + self.set_ms

    def uptime_s(self) -> float:
        return self.now_ms / 1000


class Sharer:
    """The leases of a node without drivers."""

    def __init__(self, name: str, url: str, markets: tuple[str, ...], clock: Clock) -> None:
        policies = {market: MarketPolicy() for market in markets}
        self.store = RedisStorage(url, policies, now_ms=clock, node=name)
        self.woken: list[str] = []
        self.changed: list[str] = []
        self.recovered: list[str] = []
        self.leases = NodeLeases(
            Context(self.store, PLACES, policies, Metrics()),
            name,
            lambda _: True,
            lambda *_: None,
            self._recover,
            self._note_change,
            self.woken.append,
            Confirmed(self.store.jobs, self.store.event_log, clock.uptime_s, _claim_nothing),
        )

    async def _recover(self, market: str, rewound: bool) -> None:
        assert not rewound
        self.recovered.append(market)

    async def _note_change(self, market: str) -> None:
        self.changed.append(market)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def member(redis_url: str, clock: Clock) -> AsyncIterator[Member]:
    members: list[Sharer] = []

    async def start(name: str, markets: tuple[str, ...] = MARKETS) -> Sharer:
        sharer = Sharer(name, redis_url, markets, clock)
        members.append(sharer)
        await sharer.store.connect()
        if len(members) == 1:
            await sharer.store.runner.link.call("FLUSHALL")
        await sharer.leases.start()
        return sharer

    yield start
    for each in members:
        await each.leases.stop()
        await each.store.close()


async def test_live_nodes_share_all_markets_and_no_market_twice(member: Member) -> None:
    nodes = [await member(name) for name in ("a", "b", "c")]
    for node in nodes:
        await node.leases.beat()
    shares = [node.leases.share for node in nodes]
    assert sorted(market for share in shares for market in share) == list(MARKETS)
    assert all(shares)


async def test_share_of_a_dead_node_is_taken_over(member: Member, clock: Clock) -> None:
    a, b = await member("a"), await member("b")
    await a.leases.beat()
    assert set(a.leases.share).isdisjoint(b.leases.share)
    a.woken.clear()
    for _ in range(4):
        clock.now_ms += LEASE_MS // 5
        await a.leases.beat()
    assert a.leases.share == MARKETS
    # The dead node may have freed drivers without waking their malls.
    assert a.woken == list(MARKETS)


async def test_node_that_leaves_gives_up_its_share_at_once(member: Member) -> None:
    a, b = await member("a"), await member("b")
    await b.leases.leave()
    await a.leases.beat()
    assert a.leases.share == MARKETS


async def test_node_of_another_configuration_is_left_out(member: Member) -> None:
    """A market that it does not serve would not be swept by anybody."""
    a, b = await member("a"), await member("b", MARKETS[:-1])
    await a.leases.beat()
    assert a.leases.share == MARKETS
    assert b.leases.share == MARKETS[:-1]


async def test_node_that_cannot_ask_sweeps_everything(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = await member("a"), await member("b")
    await a.leases.beat()
    assert a.leases.share != MARKETS

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(a.store.leases, "meet", away)
    await a.leases.beat()
    assert a.leases.share == MARKETS


async def test_lease_that_is_given_up_is_not_missed(member: Member, clock: Clock) -> None:
    """A renewal on its way must not leave behind that the lease is held, or a loss is suspected."""
    a = await member("a")
    for calls in itertools.permutations((a.leases.hold, a.leases.has_lost_lately, a.leases._renew)):
        await a.leases.has_lost_lately(MARKETS[0])
        await asyncio.gather(*(call(MARKETS[0]) for call in calls))
        held = await a.store.runner.link.call(
            "HGETALL", a.store.runner.keys[MARKETS[0]].key("leases")
        )
        assert bool(held) == (MARKETS[0] in a.leases.held)
        clock.now_ms += 1
        assert not await a.leases.has_lost_lately(MARKETS[0])
        await a.leases._renew(MARKETS[0])


async def test_lease_that_has_ended_is_not_given_up_while_it_is_taken(
    member: Member, clock: Clock
) -> None:
    a = await member("a")
    await a.leases._renew(MARKETS[0])
    await a.store.leases.beat(MARKETS[0], "a")
    clock.now_ms += LEASE_MS
    await asyncio.gather(a.leases.reap_dead(MARKETS[0]), a.leases.hold(MARKETS[0]))
    assert MARKETS[0] in a.leases.held
    assert await a.store.runner.link.call("HGETALL", a.store.runner.keys[MARKETS[0]].key("leases"))


@pytest.mark.parametrize("set_ms", [-3_600_000, 3_600_000])
async def test_drivers_are_taken_back_when_the_clock_was_set(
    member: Member, clock: Clock, set_ms: int
) -> None:
    """Their apps learn the clock, and what was due before a step back is not left waiting."""
    a, market = await member("a"), MARKETS[0]
    await a.leases.has_lost_lately(market)
    a.woken.clear()
    with capture_logs() as logs:
        for clock.set_ms in (1_000, set_ms, set_ms - 1_000):  # a second is too little to matter
            await a.leases.has_lost_lately(market)
            await eventually(lambda: not len(a.leases))
    assert (a.recovered, a.woken) == ([market], [market])
    (line,) = (line for line in logs if line["event"] == "the clock of Redis was set")
    assert line["forward_s"] == set_ms / 1000


async def test_slow_heartbeat_says_nothing_about_the_clock(
    member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await member("a")
    await a.leases.has_lost_lately(MARKETS[0])
    a.woken.clear()
    beat = a.store.leases.beat

    async def slow(market: str, node: str) -> Beat:
        answer = await beat(market, node)
        clock.now_ms += 10_000  # frozen, for example
        return answer

    monkeypatch.setattr(a.store.leases, "beat", slow)
    await a.leases.has_lost_lately(MARKETS[0])
    assert a.woken == []


async def test_lease_is_not_given_up_once_a_loss_is_looked_into(
    member: Member, clock: Clock
) -> None:
    """The recovery would note a lease that has been given up meanwhile."""
    a = await member("a")
    await a.leases.hold(MARKETS[0])
    clock.now_ms += LEASE_MS
    await asyncio.gather(a.leases.has_lost_lately(MARKETS[0]), a.leases._renew(MARKETS[0]))
    await eventually(lambda: len(a.leases) == 0)
    held = await a.store.runner.link.call("HGETALL", a.store.runner.keys[MARKETS[0]].key("leases"))
    assert bool(held) == (MARKETS[0] in a.leases.held)


async def test_change_by_an_operator_reaches_every_node_once(member: Member) -> None:
    a, b = await member("a"), await member("b")
    await a.store.controls.set_pause(MARKETS[3], "", "", paused=True, actor="ops", reason="test")
    for node in (a, b, a, b):
        await node.leases.beat()
    assert a.changed == b.changed == [MARKETS[3]]


async def test_change_that_could_not_be_read_is_read_again(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await member("a")
    await a.store.controls.set_pause(MARKETS[3], "", "", paused=True, actor="ops", reason="test")

    async def away(_: str) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(a.leases, "_changed", away)
        await a.leases.beat()
    await a.leases.beat()
    assert a.changed == [MARKETS[3]]


async def test_look_names_the_markets_that_need_something(member: Member, clock: Clock) -> None:
    a = await member("a")
    await a.leases.beat()
    call, keys = a.store.runner.link.call, a.store.runner.keys
    await call("ZADD", keys[MARKETS[0]].key("due"), clock.now_ms, "driver/d1")
    await call("ZADD", keys[MARKETS[1]].key("due"), clock.now_ms + 1, "driver/d1")
    await call("ZADD", keys[MARKETS[39]].key("due"), 1, "driver/d1")
    await call("HSET", keys[MARKETS[2]].key("pauses"), "/", "x")
    found = await a.store.deadlines.look(MARKETS, (Look.DUE, Look.PAUSES, Look.RISKS))
    assert found == {
        Look.DUE: [MARKETS[0], MARKETS[39]],
        Look.PAUSES: [MARKETS[2]],
        Look.RISKS: [],
    }


async def test_every_other_beat_is_left_out_while_no_node_has_drivers(
    member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await member("a"), await member("b")
    assert not a.leases.is_at_rest
    met = _count_meetings(monkeypatch, a, b)
    await _calm(clock, a, b)
    met.clear()
    for _ in range(6):
        await a.leases.beat()
    assert met == ["a"] * 3
    for _ in range(6):
        await a.leases.beat(may_rest=False)
    assert met == ["a"] * 9
    assert a.leases.is_at_rest
    b.leases.share_is_live = True
    for _ in range(2):
        await b.leases.beat()
    met.clear()
    for _ in range(6):
        await a.leases.beat()
    assert len(met) >= 5  # the first of them may have been left out
    assert not a.leases.is_at_rest


async def test_one_node_maintains_all_markets_while_no_node_has_drivers(
    member: Member, clock: Clock
) -> None:
    nodes = [await member(name) for name in ("a", "b", "c")]
    await _calm(clock, *nodes)
    for node in nodes * 3:
        await node.leases.beat(may_rest=False)
        assert _is_complete(nodes)
    first, *others = sorted(nodes, key=lambda node: len(node.leases.share), reverse=True)
    assert first.leases.share == MARKETS
    assert not any(other.leases.share for other in others)

    # Its successor needs no longer than that of a share.
    for _ in range(2):
        clock.now_ms += LEASE_MS * 2 // 3
        for other in others:
            await other.leases.beat(may_rest=False)
    assert sorted(other.leases.share for other in others) == [(), MARKETS]


async def test_no_market_is_left_out_when_nodes_wake(member: Member, clock: Clock) -> None:
    nodes = [await member(name) for name in ("a", "b", "c")]
    await _calm(clock, *nodes)
    for node in nodes * 3:
        await node.leases.beat(may_rest=False)
    first = next(node for node in nodes if node.leases.share)
    others = [node for node in nodes if node is not first]
    others[0].leases.share_is_live = True
    await others[0].leases.beat()
    # The others beat once a second until they know, and twice a second then.
    for _ in range(2):
        await first.leases.beat()
        assert _is_complete(nodes)
    for node in (others[1], first, first):
        await node.leases.beat(may_rest=False)
        assert _is_complete(nodes)
    for node in nodes * 3:
        await node.leases.beat(may_rest=False)
    assert sorted(market for node in nodes for market in node.leases.share) == list(MARKETS)


async def test_one_node_begins_a_beat_before_the_others_end(
    member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [await member(name) for name in ("a", "b", "c")]
    ask = nodes[0].store.leases.meet
    parts = await _shared(*nodes)
    met = _count_meetings(monkeypatch, *nodes)
    beats = beats_at_rest = 0
    while beats_at_rest < 4:
        clock.now_ms += 500
        beats += 1
        beats_at_rest += not (await ask(MARKETS, "a", works=False)).is_busy
        for node in nodes:
            await node.leases.beat()
        first = max(nodes, key=lambda node: len(node.leases.share))
        of_first = MARKETS if beats_at_rest >= 3 else parts[first]
        assert [node.leases.share for node in nodes] == [
            of_first if node is first else () if beats_at_rest >= 4 else parts[node]
            for node in nodes
        ]
    # None of these beats is left out; only then the nodes rest.
    assert len(met) == beats * len(nodes)
    for node in nodes:
        await node.leases.beat()
    assert len(met) == beats * len(nodes)


async def test_one_node_ends_with_the_third_beat_awake(member: Member, clock: Clock) -> None:
    nodes = [await member(name) for name in ("a", "b", "c")]
    parts = await _shared(*nodes)
    await _calm(clock, *nodes)
    for node in nodes:
        await node.leases.beat(may_rest=False)
    (first,) = (node for node in nodes if node.leases.share)
    assert first.leases.share == MARKETS
    nodes.sort(key=lambda node: node is first)  # last, so that all learn of it in one round
    nodes[0].leases.share_is_live = True
    for beat in range(1, 5):
        for node in nodes:
            await node.leases.beat(may_rest=False)
        of_first = MARKETS if beat < 3 else parts[first]
        assert [node.leases.share for node in nodes] == [
            of_first if node is first else parts[node] for node in nodes
        ]


async def test_nodes_know_whether_any_was_busy_since_they_asked(
    member: Member, clock: Clock
) -> None:
    a, b = await member("a"), await member("b")
    assert a.leases.take_busy()
    await _calm(clock, a, b)
    a.leases.take_busy()
    assert not a.leases.take_busy()
    b.leases.share_is_live = True
    for node in (b, a):
        await node.leases.beat(may_rest=False)
    b.leases.share_is_live = False
    await _calm(clock, a, b)
    assert a.leases.take_busy()
    assert not a.leases.take_busy()


async def test_dwell_sketches_are_read_only_if_a_node_was_busy(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await make_node("a")
    looks: list[Look] = []
    look = node.store.deadlines.look

    async def noted(markets: Sequence[str], at: Sequence[Look]) -> Mapping[Look, Sequence[str]]:
        looks.extend(at)
        return await look(markets, at)

    monkeypatch.setattr(node.store.deadlines, "look", noted)
    sweeper = node.dispatcher._sweeper
    for busy in (False, True):
        monkeypatch.setattr(sweeper._leases, "take_busy", lambda busy=busy: busy)
        await sweeper._learn_all()
        assert (Look.DWELLS in looks) == busy


async def test_presence_outlasts_a_beat_that_was_left_out(member: Member, clock: Clock) -> None:
    a, b = await member("a"), await member("b")
    await _calm(clock, a, b)
    for _ in range(2):
        await b.leases.beat()

    async def present() -> tuple[str, ...]:
        return (await a.store.leases.meet(MARKETS, "a", works=False)).nodes

    clock.now_ms += LEASE_MS - 1
    assert await present() == ("a", "b")
    clock.now_ms += 1
    assert await present() == ("a",)


async def test_awake_node_is_missed_within_a_second(member: Member, clock: Clock) -> None:
    a, b = await member("a"), await member("b")
    await _calm(clock, a, b)
    a.leases.share_is_live = True
    for node in (a, b, b):
        await node.leases.beat()
    clock.now_ms += 1_000
    await a.leases.beat()
    assert a.leases.share == MARKETS


async def test_node_at_rest_leaves_nothing_to_a_node_of_0_4_0(member: Member, clock: Clock) -> None:
    a = await member("a")
    # Release 0.4.0 named the nodes of the same markets so. Such a node maintains its share only.
    group = blake2b("/".join(MARKETS).encode(), digest_size=6).hexdigest()
    for old in "bcdefgh":
        key = a.store.runner.keys[MARKETS[0]].key("peers")
        await a.store.runner.link.call("ZADD", key, clock.now_ms + 60_000, f"{group}/{old}")
    await _calm(clock, a)
    assert a.leases.share == MARKETS


def _is_complete(nodes: Sequence[Sharer]) -> bool:
    return {market for node in nodes for market in node.leases.share} == set(MARKETS)


def _count_meetings(monkeypatch: pytest.MonkeyPatch, *nodes: Sharer) -> list[str]:
    """Return a list to which each node's name is added with each renewal of its presence."""
    met: list[str] = []
    for node in nodes:
        meet = node.store.leases.meet

        async def counted(
            group: tuple[str, ...], name: str, *, meet: Meet = meet, **how: bool
        ) -> Peers:
            met.append(name)
            return await meet(group, name, **how)

        monkeypatch.setattr(node.store.leases, "meet", counted)
    return met


async def _shared(*nodes: Sharer) -> dict[Sharer, tuple[str, ...]]:
    """Return what each node maintains while all of them have been awake."""
    await _give_up(*nodes)
    for node in nodes:
        await node.leases.beat()
    parts = {node: node.leases.share for node in nodes}
    assert sum(map(len, parts.values())) == len(MARKETS)
    return parts


async def _give_up(*nodes: Sharer) -> None:
    for node in nodes:
        node.leases.share_is_live = False
        await node.leases.beat()


async def _calm(clock: Clock, *nodes: Sharer) -> None:
    """Let the nodes give up the leases of their start, and let it be forgotten."""
    await _give_up(*nodes)
    clock.now_ms += 11_000
    for node in (*nodes, *nodes, *nodes):
        await node.leases.beat()
