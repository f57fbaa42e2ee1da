"""What a node has confirmed, after a failover that forgot it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from mallard_engine.dispatch.confirmed import Confirmed, ConfirmedStep
from mallard_engine.dispatch.step_commands import ProblemReport, StepReport
from mallard_engine.ports import ConfirmedOrder, JobRef, Refused, StoreUnavailable
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import KEYS, MARKET, Node, RecordingSink
from tests.support import eventually


@dataclass
class Replica:
    """All keys as they were: what is left after a failover."""

    call: Any
    keys: Mapping[bytes, bytes]

    @classmethod
    async def of(cls, node: Node) -> "Replica":
        call = node.store.runner.link.call
        names = await call("KEYS", KEYS.key("*"))
        found = {name: await call("DUMP", name) for name in names}
        return cls(call, {name: value for name, value in found.items() if value is not None})

    async def takes_over(self) -> None:
        """Replace everything by what it has, as one pipeline."""
        newer = [it for it in await self.call("KEYS", KEYS.key("*")) if it not in self.keys]
        await asyncio.gather(
            *(self.call("DEL", name) for name in newer),
            *(self.call("RESTORE", *each, "REPLACE") for each in self._restored()),
        )

    async def is_promoted(self) -> None:
        """Replace everything, as another server than before."""
        await self.takes_over()
        await self.call("HSET", KEYS.key("lineage"), "server", "another")

    def _restored(self) -> Iterable[tuple[bytes, int, bytes]]:
        return ((name, 0, value) for name, value in self.keys.items())


async def held(node: Node, sink: RecordingSink, driver: str = "d") -> tuple[JobRef, int]:
    """Return a job that a driver has accepted, and its attempt."""
    await node.online(driver)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, driver))
    return ref, job.attempt


async def alerts(node: Node) -> list[tuple[str, str]]:
    store = node.store.alerts
    found = await store.read(MARKET, await store.list(MARKET, "open"))
    return [(it.what, it.details["job"]) for it in found]


async def test_forgotten_delivery_is_repeated(node: Node, sink: RecordingSink) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    replica = await Replica.of(node)
    await node.does(ref, "d", attempt, Step.DELIVERED)
    await replica.takes_over()
    assert (await node.job(ref)).state is JobState.PICKED_UP
    node.dispatcher.beat_now()
    await node.is_in(ref, JobState.DELIVERED)
    assert not (await node.driver("d")).jobs
    assert await alerts(node) == []


async def repeats(call: Callable[[], Awaitable[Any]]) -> None:
    """Call as a client does: again while the storage is unavailable, and never after a refusal."""

    async def has_answered() -> bool:
        try:
            await call()
        except StoreUnavailable:
            return False
        return True

    await eventually(has_answered)


async def test_step_after_a_forgotten_one_is_not_refused(node: Node, sink: RecordingSink) -> None:
    ref, attempt = await held(node, sink)
    replica = await Replica.of(node)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    await replica.takes_over()
    await repeats(lambda: node.does(ref, "d", attempt, Step.DELIVERED))
    assert (await node.job(ref)).state is JobState.DELIVERED


async def test_node_without_a_lease_refuses_nothing_while_another_restores(
    make_node: MakeNode,
) -> None:
    node, other = await make_node("a"), await make_node("b")
    ref, attempt = await held(node, node.sink)
    replica = await Replica.of(node)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    await replica.is_promoted()
    assert MARKET not in other.dispatcher._leases.held
    # The first one notices the loss; after it nothing is news to this node.
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await other.does(ref, "d", attempt, Step.DELIVERED)
    await repeats(lambda: other.does(ref, "d", attempt, Step.DELIVERED))
    assert (await node.job(ref)).state is JobState.DELIVERED


async def test_lease_that_a_refusal_has_taken_is_given_up(make_node: MakeNode) -> None:
    node, other = await make_node("a"), await make_node("b")
    ref, attempt = await held(node, node.sink)
    with pytest.raises(Refused, match="wrong_state"):
        await other.does(ref, "d", attempt, Step.DELIVERED)
    assert MARKET in other.dispatcher._leases.held
    await eventually(lambda: MARKET not in other.dispatcher._leases.held)


async def test_refusal_is_final_once_all_is_restored(
    node: Node, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mallard_engine.dispatch.leases._RESTORING_MS", 500)
    ref, attempt = await held(node, sink)
    await (await Replica.of(node)).is_promoted()
    with pytest.raises(Refused, match="wrong_state"):
        await repeats(lambda: node.does(ref, "d", attempt, Step.DELIVERED))


@pytest.mark.parametrize("report", ["step", "problem"])
async def test_report_after_a_forgotten_accept_is_not_refused(
    node: Node, sink: RecordingSink, report: str
) -> None:
    async def recover(market: str, rewound: bool) -> None:
        await node.hello("d")  # as the gateway does

    async def reports() -> None:
        if report == "step":
            await node.does(ref, "d", attempt, Step.DELIVERED)
            return
        problem = ProblemReport(
            driver="d", kind="no_answer", mall=ref.mall, job=ref.job, attempt=attempt
        )
        await node.dispatcher.steps.problem(MARKET, problem)

    node.dispatcher.recover = recover
    ref = await node.submit()
    await node.waits(ref)
    await node.online("d")
    offer = await node.offered(ref, "d")
    replica = await Replica.of(node)
    attempt = (await node.accepts(offer)).attempt
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    await replica.takes_over()
    await repeats(reports)
    job = await node.job(ref)
    assert job.state is JobState.DELIVERED if report == "step" else job.problems


async def turns(node: Node, ref: JobRef, attempt: int, step: Step) -> None:
    """Take a parcel back, or report it as returned."""
    at_ms = node.store.now_ms()
    report = StepReport(ref, "d", attempt, step, at_ms=at_ms)
    await node.dispatcher.steps.progress(report)


async def test_return_after_a_forgotten_turn_is_not_refused_for_its_state(
    node: Node, sink: RecordingSink
) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    replica = await Replica.of(node)
    await turns(node, ref, attempt, Step.RETURNING)
    await replica.takes_over()
    with pytest.raises(Refused, match="no_position"):
        await repeats(partial(turns, node, ref, attempt, Step.RETURNED))
    assert (await node.job(ref)).state is JobState.RETURNING


@pytest.mark.parametrize("by", ["shop", "operator"])
async def test_forgotten_end_by_another_than_the_driver_is_repeated(
    node: Node, sink: RecordingSink, by: str
) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    await turns(node, ref, attempt, Step.RETURNING)
    replica = await Replica.of(node)
    if by == "shop":
        await node.dispatcher.orders.received(ref, "kiosk")
    else:
        await node.dispatcher.orders.close(ref, JobState.RETURNED, "ops", "")
    await replica.takes_over()
    node.dispatcher.beat_now()
    await node.is_in(ref, JobState.RETURNED)


async def test_refusal_without_lost_writes_is_final(node: Node, sink: RecordingSink) -> None:
    ref, attempt = await held(node, sink)
    with pytest.raises(Refused, match="wrong_state"):
        await node.does(ref, "d", attempt, Step.DELIVERED)


async def test_step_that_is_not_forgotten_is_not_repeated(node: Node, sink: RecordingSink) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    replica = await Replica.of(node)
    await node.submit()  # the only thing that is forgotten
    await replica.takes_over()
    node.calls.clear()
    node.dispatcher.beat_now()
    await eventually(lambda: node.recovered)
    assert "progress" not in node.calls


async def test_parcel_of_a_forgotten_accept_stays_with_its_driver(
    node: Node, sink: RecordingSink
) -> None:
    async def recover(market: str, rewound: bool) -> None:
        await node.hello("d")  # as the gateway does

    ref = await node.submit()
    await node.waits(ref)
    replica = await Replica.of(node)
    node.dispatcher.recover = recover
    await node.online("d")
    attempt = (await node.accepts(await node.offered(ref, "d"))).attempt
    await node.does(ref, "d", attempt, Step.PICKED_UP, Step.DELIVERED)
    await replica.takes_over()
    node.dispatcher.beat_now()
    job = await node.is_in(ref, JobState.DELIVERED)
    assert (job.driver, job.attempt > attempt) == ("d", True)
    assert await alerts(node) == [("custody_after_lost_writes", ref.job)]


async def says(node: Node, kind: str, **about: Any) -> None:
    await node.dispatcher.steps.problem(MARKET, ProblemReport(driver="d", kind=kind, **about))


async def problems(node: Node, ref: JobRef) -> list[tuple[str, str]]:
    return [(it.kind, it.state) for it in (await node.job(ref)).problems]


async def settles(node: Node) -> None:
    """Wait until a heartbeat has restored what was lost."""
    known = len(node.recovered)
    node.dispatcher.beat_now()
    await eventually(lambda: len(node.recovered) > known)
    await eventually(lambda: not node.dispatcher._leases._recovering)


@pytest.mark.parametrize("kind", ["not_ready", "customer_unreachable", "unsafe"])
async def test_forgotten_problem_of_a_job_is_repeated_once(
    node: Node, sink: RecordingSink, kind: str
) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    replica = await Replica.of(node)
    await says(node, kind, mall=ref.mall, job=ref.job, attempt=attempt)
    await replica.takes_over()
    assert await problems(node, ref) == []
    for _ in range(2):
        await settles(node)
        assert await problems(node, ref) == [(kind, "open")]
    assert await alerts(node) == ([(kind, ref.job)] if kind == "unsafe" else [])


async def test_forgotten_problem_without_a_job_is_repeated_once(
    node: Node, sink: RecordingSink
) -> None:
    await node.online("d")
    await says(node, "unsafe")
    replica = await Replica.of(node)
    await says(node, "accident")
    await replica.takes_over()
    for _ in range(2):
        await settles(node)
        assert sorted(await alerts(node)) == [("accident", ""), ("unsafe", "")]


async def test_forgotten_problem_is_repeated_between_its_steps(
    node: Node, sink: RecordingSink
) -> None:
    ref, attempt = await held(node, sink)
    replica = await Replica.of(node)
    await node.does(ref, "d", attempt, Step.AT_MALL)
    await says(node, "not_ready", mall=ref.mall, job=ref.job, store="lego", attempt=attempt)
    await node.does(ref, "d", attempt, Step.PICKED_UP, Step.DELIVERED)
    await replica.takes_over()
    node.dispatcher.beat_now()
    await node.is_in(ref, JobState.DELIVERED)
    assert [kind for kind, _ in await problems(node, ref)] == ["not_ready"]


async def test_forgotten_danger_is_told_though_its_job_is_with_another(
    node: Node, sink: RecordingSink
) -> None:
    await node.online("d")
    ref = await node.submit()
    offer = await node.offered(ref, "d")
    replica = await Replica.of(node)
    attempt = (await node.accepts(offer)).attempt
    await says(node, "accident", mall=ref.mall, job=ref.job, attempt=attempt)
    await replica.takes_over()
    node.dispatcher.beat_now()

    async def is_told() -> bool:
        return ("accident", "") in await alerts(node)

    await eventually(is_told)


async def test_forgotten_cancellation_is_repeated(node: Node) -> None:
    ref = await node.submit()
    await node.waits(ref)
    replica = await Replica.of(node)
    await node.dispatcher.orders.cancel(ref, "shop", "", job=await node.job(ref))
    await replica.takes_over()
    node.dispatcher.beat_now()
    await node.is_in(ref, JobState.CANCELLED)


async def test_forgotten_order_is_an_alert_once(node: Node) -> None:
    kept = await node.submit()
    await node.waits(kept)
    replica = await Replica.of(node)
    lost = await node.submit()
    await node.waits(lost)
    await replica.takes_over()
    node.dispatcher.beat_now()
    await eventually(lambda: node.recovered)
    assert await alerts(node) == [("job_lost", lost.job)]
    await replica.takes_over()
    node.dispatcher.beat_now()
    await eventually(lambda: len(node.recovered) > 1)
    assert await alerts(node) == []


async def test_parcel_of_a_forgotten_order_is_an_alert(node: Node, sink: RecordingSink) -> None:
    replica = await Replica.of(node)
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP, Step.DELIVERED)
    await replica.takes_over()
    node.dispatcher.beat_now()
    expected = {("job_lost", ref.job), ("unknown_job_held", ref.job)}

    async def are_raised() -> bool:
        return set(await alerts(node)) == expected

    await eventually(are_raised)


@pytest.mark.parametrize("share", [True, False])
async def test_node_without_drivers_tells_of_its_orders(make_node: MakeNode, share: bool) -> None:
    nodes = [await make_node(name) for name in ("a", "b")]
    await eventually(lambda: sum(MARKET in it.dispatcher._leases.share for it in nodes) == 1)
    node = next(it for it in nodes if (MARKET in it.dispatcher._leases.share) is share)
    replica = await Replica.of(node)
    lost = await node.submit()
    await node.waits(lost)
    await replica.takes_over()

    async def is_raised() -> bool:
        return await alerts(node) == [("job_lost", lost.job)]

    await eventually(is_raised)


class Stored:
    """The jobs of a storage that has lost those of ``lost``."""

    def __init__(self, *lost: str) -> None:
        self.lost = set(lost)
        self.reported: set[str] = set()

    async def get(self, job: str) -> SimpleNamespace:
        state = JobState.ASSIGNED if job in self.lost else JobState.PICKED_UP
        return SimpleNamespace(id=job, state=state, driver="d", terminal=False)

    async def has(self, market: str, event: str) -> bool:
        return event not in self.lost

    async def report_lost(self, market: str, orders: Sequence[ConfirmedOrder]) -> Sequence[str]:
        found = [order.job for order in orders if order.job in self.lost]
        self.reported.update(found)
        return found


@dataclass
class Memory:
    """What a node has confirmed, one item after the other."""

    stored: Stored
    now_s: float = 0.0

    def __post_init__(self) -> None:
        async def claim(*_: object) -> None: ...

        self.confirmed = Confirmed(self.stored, self.stored, lambda: self.now_s, claim)  # type: ignore[arg-type]

    def order(self, job: str) -> None:
        self.now_s += 0.01
        order = SimpleNamespace(id=job, service="shop", external_id="", created_ms=0)
        self.confirmed.order(MARKET, order)  # type: ignore[arg-type]

    def pickup(self, job: str) -> None:
        async def redo() -> None:
            self.stored.lost.discard(job)

        self.now_s += 0.01
        self.confirmed.step(MARKET, ConfirmedStep(job, JobState.PICKED_UP, redo, "d", 1))


async def test_lost_step_is_found_behind_many_later_ones() -> None:
    memory = Memory(Stored("lost"))
    memory.pickup("kept")
    memory.confirmed.nothing_lost(MARKET, memory.now_s)
    memory.pickup("lost")
    for number in range(200):  # on the server that has taken over, before the node notices
        memory.pickup(f"later-{number}")
    await memory.confirmed.restore(MARKET)
    assert not memory.stored.lost


async def test_lost_order_is_found_behind_many_later_ones() -> None:
    memory = Memory(Stored("lost"))
    memory.order("kept")
    memory.confirmed.nothing_lost(MARKET, memory.now_s)
    memory.order("lost")
    for number in range(600):
        memory.order(f"later-{number}")
    await memory.confirmed.restore(MARKET)
    assert memory.stored.reported == {"lost"}
