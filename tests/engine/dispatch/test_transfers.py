"""Transfers in the rounds of real nodes: who is asked, in which market, and after which crash."""

import pytest

from mallard_engine.core.model import Driver, Job, RankedDriver, RoundRecord, Vehicle
from mallard_engine.core.places.meeting import is_meeting
from mallard_engine.dispatch.step_commands import ProblemReport, StepReport
from mallard_engine.dispatch.transfers import NothingOnBoard, NotOnBoard
from mallard_engine.ports import Answered, JobRef, OfferPlan, PlannedJob, Stop
from mallard_engine.storage.calls.leases import LEASE_MS
from mallard_protocol.codes import OfferClosedWhy
from mallard_protocol.lifecycle import ON_BOARD, JobState, Step, Wish
from mallard_protocol.messages import Proof
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, MARKET, Node, RecordingSink
from tests.support import eventually

ROOMY = Vehicle(max_jobs=12)


async def loaded(node: Node, driver: str = "d1", count: int = 2) -> list[JobRef]:
    """A driver with parcels on board."""
    await node.hello(driver, 300, vehicle=ROOMY)
    refs = [await node.submit(weight_g=500) for _ in range(count)]
    for ref in refs:
        await node.dispatcher.orders.assign(ref, driver, "operator")
        job = await node.job(ref)
        await node.does(ref, driver, job.attempt, Step.PICKED_UP)
    return refs


async def breaks_down(node: Node, driver: str = "d1") -> None:
    await node.dispatcher.steps.problem(MARKET, ProblemReport(driver=driver, kind="breakdown"))


async def transfer_of(node: Node, ref: JobRef) -> JobRef:
    """Wait until a transfer carries the job; return it."""
    await eventually(lambda: _is_carried(node, ref))
    job = await node.job(ref)
    return JobRef(job.transfer_job, job.transfer.partition("/")[0])


async def _is_carried(node: Node, ref: JobRef) -> bool:
    return bool((await node.job(ref)).transfer)


async def take_over(node: Node, transfer: JobRef, job: Job, driver: str) -> list[str]:
    return [got.id for got in (await handed_over(node, transfer, job, driver)).jobs]


async def handed_over(node: Node, transfer: JobRef, job: Job, driver: str) -> Answered:
    proof = Proof("code", (await node.job(transfer)).code)
    report = StepReport(transfer, driver, job.attempt, Step.PICKED_UP, proof=proof)
    return await node.dispatcher.steps.progress(report)


@pytest.mark.parametrize(
    "market",
    [
        {"max_run_jobs": 12},
        {"max_run_jobs": 12, "round": "batch"},
        {"max_run_jobs": 12, "round": "batch", "hold_max_s": 0.0},
        {"max_run_jobs": 12, "preset": "express", "offer_rungs": ("staggered 2/5",)},
    ],
    ids=["pooled", "batch", "batch without holding", "staggered"],
)
async def test_breakdown_finds_a_second_driver(
    make_node: MakeNode, market: dict[str, object]
) -> None:
    node = await make_node(**market)
    refs = await loaded(node, count=3)
    await node.online("small", 400, vehicle=Vehicle(max_jobs=2))
    await node.online("d2", 4_000, vehicle=ROOMY)
    await breaks_down(node)
    transfer = await transfer_of(node, refs[0])
    assert is_meeting(transfer.mall)
    job = await node.accepts(await node.offered(transfer, "d2"))
    got = await take_over(node, transfer, job, "d2")
    assert sorted(got) == sorted(ref.job for ref in refs)
    assert {(await node.job(ref)).driver for ref in refs} == {"d2"}


async def test_second_driver_gets_an_order_of_its_own(make_node: MakeNode) -> None:
    """The first was to drive south; the second comes from the south, so the north is last."""
    node = await make_node(max_run_jobs=12)
    await node.hello("d1", 300, vehicle=ROOMY)
    refs = []
    for north_m in (6_000, 3_000, 1_000):
        refs.append(await node.submit(lat=MALL.lat + north_m / 111_195, lon=MALL.lon))
        await node.dispatcher.orders.assign(refs[-1], "d1", "operator")
        await node.does(refs[-1], "d1", 1, Step.PICKED_UP)
    now_ms = node.store.now_ms()
    stops = [Stop(ref.job, 1, now_ms, now_ms + n * 60_000) for n, ref in enumerate(refs, 1)]
    await node.store.jobs.update_etas(MARKET, "d1", stops)
    await node.online("d2", -500, vehicle=ROOMY)
    await breaks_down(node)
    transfer = await transfer_of(node, refs[0])
    job = await node.accepts(await node.offered(transfer, "d2"))
    answered = await handed_over(node, transfer, job, "d2")
    stated = {job.id: job.eta_dropoff_ms or 0 for job in answered.jobs}
    assert sorted(stated, key=stated.__getitem__) == [ref.job for ref in reversed(refs)]
    assert {ref.job: (await node.job(ref)).eta_dropoff_ms for ref in refs} == stated


async def test_driver_who_comes_later_is_asked(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12)
    (ref,) = await loaded(node, count=1)
    await breaks_down(node)
    transfer = await transfer_of(node, ref)
    await node.waits(transfer)
    await node.online("d2", 1_000, vehicle=ROOMY)
    await node.offered(transfer, "d2")


async def test_other_node_begins_what_a_dead_one_has_not(make_node: MakeNode) -> None:
    node = await make_node(lease_ms=LEASE_MS, max_run_jobs=12)
    (ref,) = await loaded(node, count=1)
    # The problem is stored, and the node dies before it follows up.
    await node.store.jobs.problem(
        MARKET, "d1", kind="breakdown", mall="", job="", store="", until_ms=None, text=""
    )
    await node.die()
    other = await make_node("b", lease_ms=LEASE_MS, max_run_jobs=12)
    await transfer_of(other, ref)


async def test_parcel_left_on_the_way_is_not_asked_for_twice(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12)
    first, second = await loaded(node)
    begun = await node.dispatcher.transfers.begin(
        MARKET, "d1", jobs=[first.job], driver=None, at=None, actor="operator"
    )
    await breaks_down(node)
    other = await transfer_of(node, second)
    assert other.job != begun.id
    assert (await node.job(first)).transfer_job == begun.id


async def test_live_offer_of_a_broken_car_is_withdrawn(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node = await make_node(max_run_jobs=12, preset="pooled")
    ref = await node.submit()
    await node.online("d1", 300, vehicle=ROOMY)
    job = await node.accepts(await node.offered(ref, "d1"))
    more = await node.submit()
    ranked = RankedDriver("d1", True, None, 1.0, (), 60, 500, next(iter(MALL.gates)))
    record = RoundRecord(more.job, 1, node.store.now_ms(), 1_000, False, (ranked,))
    plan = OfferPlan("o-more", more.mall, (PlannedJob(more.job, 0, record),), (ranked,))
    assert (await node.store.offers.make(plan)).verdict == "offered"
    await breaks_down(node)
    await eventually(lambda: bool(sink.pushes_to("d1", "offer_closed")))
    (closed,) = sink.pushes_to("d1", "offer_closed")
    assert closed.why == OfferClosedWhy.WITHDRAWN
    await node.is_in(ref, JobState.QUEUED)
    assert (await node.job(ref)).attempt == job.attempt + 1


async def test_end_of_a_block_hands_over_what_is_late(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12, transfer_before_end_s=3_600)
    in_time, late = await loaded(node)
    now_ms = node.store.now_ms()
    until_ms = now_ms + 3_601_500
    key = node.store.runner.keys[MARKET].job(in_time.job)
    await node.store.runner.link.call("HSET", key, "eta_dropoff_ms", until_ms - 1)
    await node.wish("d1", Wish.AVAILABLE, until_ms)
    transfer = await transfer_of(node, late)
    assert (await node.job(transfer)).carries == (late.job,)
    assert (await node.driver("d1")).wish is Wish.PAUSED
    assert not (await node.job(in_time)).transfer


async def test_block_that_ends_in_time_pauses_no_driver(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12, transfer_before_end_s=3_600)
    (ref,) = await loaded(node, count=1)
    until_ms = node.store.now_ms() + 3_601_000
    key = node.store.runner.keys[MARKET].job(ref.job)
    await node.store.runner.link.call("HSET", key, "eta_dropoff_ms", until_ms - 1)
    await node.wish("d1", Wish.AVAILABLE, until_ms)

    async def is_settled() -> bool:
        return "transfer" in node.calls

    await eventually(is_settled)
    driver: Driver = await node.driver("d1")
    assert driver.wish is Wish.AVAILABLE
    assert (await node.job(ref)).state in ON_BOARD
    assert not (await node.job(ref)).transfer


async def test_transfer_of_what_is_not_on_board_is_refused(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12)
    begin = node.dispatcher.transfers.begin
    await node.online("d2")
    with pytest.raises(NothingOnBoard):
        await begin(MARKET, "d2", jobs=None, driver=None, at=None, actor="o")
    (ref,) = await loaded(node, count=1)
    with pytest.raises(NotOnBoard) as refused:
        await begin(MARKET, "d1", jobs=[ref.job, "job_phoenix.x"], driver=None, at=None, actor="o")
    assert refused.value.place == 1


async def test_rounds_of_a_meeting_are_forgotten(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12)
    (ref,) = await loaded(node, count=1)
    await node.online("d2", 1_000, vehicle=ROOMY)
    await breaks_down(node)
    transfer = await transfer_of(node, ref)
    job = await node.accepts(await node.offered(transfer, "d2"))
    await take_over(node, transfer, job, "d2")
    # Of the meeting alone: the mall's round may have met the job while it was offered at once.
    await eventually(lambda: not any(map(len, node.dispatcher._rounds._meetings.values())))


async def test_transfer_beside_another_job_has_an_eta(make_node: MakeNode) -> None:
    node = await make_node(max_run_jobs=12)
    await loaded(node)
    await node.online("d2", 1_000, vehicle=ROOMY)
    await node.accepts(await node.offered(await node.submit(), "d2"))
    begun = await node.dispatcher.transfers.begin(
        MARKET, "d1", jobs=None, driver="d2", at=None, actor="operator"
    )
    transfer = JobRef(begun.id, begun.mall)

    async def is_expected() -> bool:
        await node.moves("d2", 990)
        return (await node.job(transfer)).eta_pickup_ms is not None

    await eventually(is_expected)
