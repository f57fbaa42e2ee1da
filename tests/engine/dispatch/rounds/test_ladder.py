"""The ladder of offers: unaccepted offers move on, and unserved jobs expire with a reason."""

import asyncio

from mallard_engine.core.model import Vehicle
from mallard_engine.dispatch.step_commands import ProblemReport
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import HOUR_MS, MALL, MARKET, Node, RecordingSink
from tests.support import Standstill, eventually


async def late_ms(node: Node) -> float:
    """The total lateness of the node's offer expiries, in ms."""
    text = node.metrics.render().decode()
    (line,) = [x for x in text.splitlines() if x.startswith("mallard_offer_lateness_seconds_sum")]
    return float(line.split()[1]) * 1000


async def test_unacknowledged_offer_goes_to_the_next_driver(
    make_node: MakeNode, sink: RecordingSink, standstill: Standstill
) -> None:
    node = await make_node(offer_ack_timeout_ms=150)
    await node.online("silent", 300)
    await node.online("next", 800)
    ref = await node.submit()
    first = await node.offered(ref, "silent")
    second = await node.offered(ref, "next", attempt=2)
    await node.acknowledges(second)
    assert (await node.outcomes(ref))[0] == ("silent", "unacknowledged")
    assert await late_ms(node) <= 250 + standstill.ms
    (closed,) = sink.pushes_to("silent", "offer_closed")
    assert (closed.offer_id, closed.why) == (first.offer, "withdrawn")
    (state,) = sink.pushes_to("silent", "state")
    assert state.why == "unreachable"
    # The driver leaves matching for all jobs until it sends a frame.
    other = await node.submit()
    await node.waits(other)
    await node.dispatcher.drivers.seen(MARKET, "silent")
    await node.offered(other, "silent")


async def test_unacknowledging_driver_gets_the_job_again_later(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node = await make_node(offer_ack_timeout_ms=100, unreachable_s=0.5, retry_s=0.2)
    await node.online("silent")
    ref = await node.submit()
    await node.offered(ref, "silent", attempt=1)
    await eventually(lambda: sink.pushes_to("silent", "state"))
    await node.dispatcher.drivers.seen(MARKET, "silent")
    await node.offered(ref, "silent", attempt=2)
    first, second = sink.offers
    assert second.expires_ms - first.ack_by_ms >= 500


async def test_declined_job_moves_on_and_its_driver_cools_down(
    node: Node, sink: RecordingSink
) -> None:
    await node.online("picky", 300)
    await node.online("next", 800)
    ref = await node.submit()
    first = await node.offered(ref, "picky")
    await node.declines(first)
    second = await node.offered(ref, "next", attempt=2)
    assert await node.outcomes(ref) == [("picky", "declined")]
    # After the cool-down the driver gets other jobs, but not the declined one.
    other = await node.submit()
    cooling = await node.driver("picky")
    assert cooling.cool_until_ms > node.store.now_ms()
    assert (await node.job(other)).state is JobState.QUEUED
    offer = await node.offered(other, "picky")
    assert offer.expires_ms - 20_000 >= cooling.cool_until_ms
    await node.declines(second)
    await node.declines(offer)
    await node.is_in(ref, JobState.QUEUED)
    await eventually(node.free_drivers)
    assert sink.asked(ref) == ["picky", "next"]


async def test_unanswered_offer_expires_and_moves_on(
    make_node: MakeNode, sink: RecordingSink, standstill: Standstill
) -> None:
    node = await make_node(offer_timeout_ms=300, cooldown_s=0.2)
    await node.online("slow", 300)
    await node.online("next", 800)
    ref = await node.submit()
    first = await node.offered(ref, "slow")
    await node.acknowledges(first)
    await node.offered(ref, "next", attempt=2)
    assert (await node.outcomes(ref))[0] == ("slow", "expired")
    assert await late_ms(node) <= 250 + standstill.ms
    assert [push.why for push in sink.pushes_to("slow", "offer_closed")] == ["expired"]
    assert [push.why for push in sink.pushes_to("slow", "state")] == ["cooling_down"]
    await node.offered(await node.submit(), "slow")


async def test_driver_who_gave_up_gets_no_second_offer(node: Node, sink: RecordingSink) -> None:
    await node.online("d1", 300)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, "d1"))
    await node.does(ref, "d1", job.attempt, Step.GIVE_UP)
    await node.waits(ref)
    await node.online("d2")
    await node.offered(ref, "d2")
    assert sink.asked(ref) == ["d1", "d2"]


async def test_silent_driver_loses_the_job_before_pickup(make_node: MakeNode) -> None:
    node = await make_node(resume_ttl_s=0.4, at_mall_silence_s=0.4)
    hello = await node.online("d1", 300)
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "d1"))
    await node.online("d2", 900)
    node.dispatcher.drivers.socket_closed(MARKET, "d1", hello.epoch)
    await node.offered(ref, "d2")
    assert await node.outcomes(ref) == [("d1", "accepted"), ("d1", "silent")]


# -- expiry


async def ended(node: Node, ref: JobRef, standstill: Standstill) -> str | None:
    job = await node.is_in(ref, JobState.EXPIRED)
    now_ms = node.store.now_ms()
    if job.reason != "too_many_attempts":
        assert 0 <= job.updated_ms - job.expires_ms <= 1_000 + standstill.ms
        assert now_ms >= job.expires_ms
    return job.reason


async def test_job_without_near_drivers_expires_with_reason(
    node: Node, standstill: Standstill
) -> None:
    ref = await node.submit(expires_in_ms=300)
    assert await ended(node, ref, standstill) == "nobody_in_reach"


async def test_job_without_fitting_drivers_expires_with_reason(
    node: Node, standstill: Standstill
) -> None:
    await node.online("bike", vehicle=Vehicle(max_weight_g=10))
    ref = await node.submit(expires_in_ms=300)
    assert await ended(node, ref, standstill) == "nobody_fits"


# Drivers who can collect a parcel within the short lifetime of these jobs.
INSTANT = {"speed_mps": 100_000.0, "store_dwell_s": 0.0}


async def test_job_without_acceptance_expires_with_reason(
    make_node: MakeNode, standstill: Standstill
) -> None:
    node = await make_node(**INSTANT)
    await node.online("picky")
    ref = await node.submit(expires_in_ms=3_000, stores=("kiosk",))
    await node.declines(await node.offered(ref, "picky"))
    assert await ended(node, ref, standstill) == "nobody_accepted"


async def test_offer_expires_with_its_job_at_the_latest(
    make_node: MakeNode, sink: RecordingSink, standstill: Standstill
) -> None:
    node = await make_node(**INSTANT)
    await node.online("slow")
    ref = await node.submit(expires_in_ms=3_000, stores=("kiosk",))
    offer = await node.offered(ref, "slow")
    await node.acknowledges(offer)
    # The offer ends with the job, and leaves its driver no less time than needed.
    assert 0 <= (await node.job(ref)).expires_ms - offer.expires_ms <= 50
    assert await ended(node, ref, standstill) == "nobody_accepted"
    assert [push.why for push in sink.pushes_to("slow", "offer_closed")] == ["expired"]


async def test_job_expires_after_its_last_attempt(
    make_node: MakeNode, standstill: Standstill
) -> None:
    node = await make_node(max_attempts=2)
    for n in range(3):
        await node.online(f"d{n}", 300 + n * 100)
    ref = await node.submit()
    await node.declines(await node.offered(ref, "d0"))
    await node.declines(await node.offered(ref, "d1"))
    assert await ended(node, ref, standstill) == "too_many_attempts"
    assert await node.outcomes(ref) == [("d0", "declined"), ("d1", "declined")]


async def test_last_attempt_may_still_be_accepted(make_node: MakeNode) -> None:
    node = await make_node(max_attempts=1)
    await node.online("d")
    ref = await node.submit()
    assert (await node.accepts(await node.offered(ref, "d"))).state is JobState.ASSIGNED


async def test_job_of_a_shop_held_past_its_window_expires(
    node: Node, standstill: Standstill
) -> None:
    await node.online("d")
    await hold(node, "d", "lego", node.store.now_ms() + HOUR_MS)
    ref = await node.submit(expires_in_ms=300)
    assert await ended(node, ref, standstill) == "not_ready_in_time"


# -- hold and scheduled jobs


async def hold(node: Node, driver: str, store: str, until_ms: int) -> None:
    report = ProblemReport(
        driver=driver, kind="not_ready", mall=MALL.id, store=store, until_ms=until_ms
    )
    await node.dispatcher.steps.problem(MARKET, report)


async def test_held_shop_delays_only_its_own_jobs(
    node: Node, sink: RecordingSink, standstill: Standstill
) -> None:
    await node.online("d1", 300)
    await node.online("d2", 500)
    until_ms = node.store.now_ms() + 2_600
    await hold(node, "d1", "lego", until_ms)
    held = await node.submit(stores=("macys", "lego"))
    other = await node.submit(stores=("macys",))
    await node.offered(other, "d1")
    assert sink.asked(held) == []
    await node.offered(held, "d2")
    offered_ms = next(e.at_ms for e in (await node.job(held)).timeline if e.state == "offered")
    assert 0 <= offered_ms - until_ms <= 500 + standstill.ms


async def test_scheduled_job_is_released_on_time(
    node: Node, sink: RecordingSink, standstill: Standstill
) -> None:
    await node.online("d")
    ref = await node.submit(state=JobState.SCHEDULED, release_in_ms=400)
    job = await node.job(ref)
    assert job.state is JobState.SCHEDULED
    await node.offered(ref, "d")
    offered_ms = (await node.job(ref)).updated_ms
    assert 0 <= offered_ms - job.release_ms <= 250 + standstill.ms


async def ready(node: Node, ref: JobRef, *, release_in_ms: int) -> bool:
    job = await node.job(ref)
    return await node.dispatcher.orders.ready(
        ref,
        was=job,
        body=f'{{"n": {release_in_ms}}}'.encode(),
        card=b"another card",
        need=job.need,
        actor="toys",
        release_ms=node.store.now_ms() + release_in_ms,
    )


async def test_earlier_ready_time_releases_the_job_earlier(node: Node) -> None:
    await node.online("d")
    ref = await node.submit(state=JobState.SCHEDULED, release_in_ms=HOUR_MS)
    assert await ready(node, ref, release_in_ms=0)
    offer = await node.offered(ref, "d")
    assert offer.jobs[0].card == b"another card"


async def test_later_ready_time_releases_the_job_later(node: Node, standstill: Standstill) -> None:
    await node.online("d")
    ref = await node.submit(state=JobState.SCHEDULED, release_in_ms=200)
    assert await ready(node, ref, release_in_ms=600)
    released_ms = (await node.job(ref)).release_ms
    await node.offered(ref, "d")
    late_ms = (await node.job(ref)).updated_ms - released_ms
    assert 0 <= late_ms <= 250 + standstill.ms


async def test_concurrent_ready_calls_have_one_winner(node: Node) -> None:
    ref = await node.submit(state=JobState.SCHEDULED, release_in_ms=HOUR_MS)
    first, second = await asyncio.gather(
        ready(node, ref, release_in_ms=HOUR_MS), ready(node, ref, release_in_ms=2 * HOUR_MS)
    )
    assert sorted([first, second]) == [False, True]


async def test_release_time_is_before_the_parcel_is_ready(node: Node) -> None:
    now_ms = node.store.now_ms()
    need = (await node.job(await node.submit(ready_ms=now_ms + HOUR_MS))).need
    release_ms = node.dispatcher.orders.release_ms(MALL.id, need, now_ms)
    assert now_ms < release_ms < need.ready_ms
    ready_now = node.dispatcher.orders.release_ms(MALL.id, need, need.ready_ms)
    assert ready_now == need.ready_ms


async def test_parcel_never_ready_in_time_expires(node: Node, standstill: Standstill) -> None:
    now_ms = node.store.now_ms()
    await node.online("d")
    ref = await node.submit(
        state=JobState.SCHEDULED,
        release_in_ms=400,
        ready_ms=now_ms + HOUR_MS,
        expires_in_ms=400,
    )
    need = (await node.job(ref)).need
    assert node.dispatcher.orders.release_ms(MALL.id, need, now_ms) == need.expires_ms
    assert await ended(node, ref, standstill) == "not_ready_in_time"
