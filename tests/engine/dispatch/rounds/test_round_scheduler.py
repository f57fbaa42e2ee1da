"""Rounds: the order of offers, the growth of the search, and independence of jobs."""

import asyncio
from dataclasses import replace

import pytest

from mallard_engine.core.matching.search_policy import JOBS_AT_FIRST
from mallard_engine.core.model import Vehicle
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, MARKET, OTHER_MALL, Node, RecordingSink
from tests.support import Standstill, eventually

BIKE = Vehicle(kind="bike", max_weight_g=5_000, max_volume_l=20)


async def test_job_is_offered_at_once_to_the_nearest_driver(
    node: Node, sink: RecordingSink
) -> None:
    await node.online("far", 1_200)
    await node.online("near", 300)
    await node.quiet()
    ref = await node.submit()
    offer = await node.offered(ref, "near", attempt=1)
    assert sink.offers == [offer]
    assert offer.jobs[0].card == b"card of " + ref.job.encode()
    assert offer.mall == MALL.id
    assert node.calls.count("candidates") == 1


async def test_nearest_driver_who_fits_gets_the_offer(node: Node, sink: RecordingSink) -> None:
    await node.online("bike", 100, vehicle=BIKE)
    await node.online("car", 900)
    ref = await node.submit(weight_g=9_000)
    await node.offered(ref, "car")
    assert sink.asked(ref) == ["car"]


async def test_driver_not_available_gets_no_offer(node: Node) -> None:
    await node.hello("offline", 100)
    await node.online("available", 900)
    await node.offered(await node.submit(), "available")


@pytest.mark.parametrize("north_m", [4_000, 19_900])
async def test_search_finds_drivers_up_to_its_limit(node: Node, north_m: float) -> None:
    await node.online("d", north_m)
    await node.quiet()
    await node.offered(await node.submit(), "d")
    assert node.calls.count("candidates") == 1


async def test_driver_beyond_the_maximum_radius_gets_no_offer(node: Node) -> None:
    await node.online("d", 20_200)
    ref = await node.submit()
    record = await node.waits(ref)
    assert record is not None
    assert (record.candidates, record.radius_m, record.capped) == ((), 20_000, False)


async def test_driver_at_zero_distance_does_not_stop_the_search(node: Node) -> None:
    for _ in range(2):
        await node.online("here", 0)
        await node.delivers(await node.offered(await node.submit(), "here"))
    await node.hello("here", 0)
    await node.online("far", 15_000)
    heavy = await node.submit(requires=("crane",))
    await node.waits(heavy)


async def test_priority_precedes_age(node: Node, sink: RecordingSink) -> None:
    refs = [await node.submit(priority=priority) for priority in (0, 1, 5, 1)]
    for ref in refs:
        await node.waits(ref)
    served: list[str] = []
    await node.online("d")
    for _ in refs:
        await eventually(lambda: len(sink.offers) > len(served))
        offer = sink.offers[len(served)]
        served.append(offer.jobs[0].job)
        await node.delivers(offer)
    assert served == [refs[n].job for n in (2, 1, 3, 0)]


async def test_search_doubles_drivers_after_earlier_refusals(
    make_node: MakeNode,
) -> None:
    node = await make_node(candidates=2, max_candidates=8, cooldown_s=0)
    for n in range(6):
        await node.online(f"d{n}", 100 + 100 * n)
    ref = await node.submit()
    for n in range(6):
        offer = await node.offered(ref, f"d{n}", attempt=n + 1)
        await node.declines(offer)
    record = await node.waits(ref)
    assert record is not None
    assert not record.capped
    assert {c.why_not for c in record.candidates} == {"asked_before"}


async def test_search_widens_for_unserved_jobs(make_node: MakeNode, standstill: Standstill) -> None:
    node = await make_node(candidates=2)
    for n in range(9):
        await node.online(f"d{n}", 100 + 100 * n)
    await node.online("crane", 5_000, vehicle=Vehicle(equipment=("crane",)))
    await node.quiet()
    plain, heavy = await asyncio.gather(node.submit(), node.submit(requires=("crane",)))
    await node.offered(plain, "d0")
    await node.offered(heavy, "crane")
    # Both in the first round, and not when the retry entry was due.
    job = await node.job(heavy)
    assert job.updated_ms - job.created_ms < 900 + standstill.ms


async def test_capped_search_is_recorded(make_node: MakeNode) -> None:
    node = await make_node(candidates=2, max_candidates=4)
    for n in range(5):
        await node.online(f"d{n}", 100 + 100 * n, vehicle=BIKE)
    ref = await node.submit(weight_g=9_000)
    record = await node.waits(ref)
    assert record is not None
    assert record.capped
    assert [c.driver for c in record.candidates] == ["d0", "d1", "d2", "d3"]


async def test_round_record_has_cost_terms_and_reasons(node: Node) -> None:
    await node.online("bike", 100, vehicle=BIKE)
    await node.online("car", 500)
    ref = await node.submit(weight_g=9_000)
    offer = await node.offered(ref, "car")
    record = await eventually(lambda: node.store.offers.last_round(ref.job))
    assert record is not None
    car, bike = record.candidates
    assert (record.job, record.round, record.capped) == (ref.job, offer.attempt, False)
    assert 500 <= record.radius_m <= 20_000
    assert (car.driver, car.eligible, car.why_not) == ("car", True, None)
    terms = ["travel", "idle", "declines", "acceptance", "slack"]
    assert [term.name for term in car.terms] == terms
    assert car.cost_s == pytest.approx(sum(term.seconds for term in car.terms))
    assert (bike.driver, bike.eligible, bike.why_not) == ("bike", False, "too_heavy")
    assert bike.cost_s is None


async def test_burst_of_500_jobs_takes_few_rounds(node: Node, sink: RecordingSink) -> None:
    drivers, jobs = 600, 500
    await asyncio.gather(*(node.online(f"d{n}", 20 + 5 * n) for n in range(drivers)))
    await node.quiet()
    refs = await asyncio.gather(*(node.submit() for _ in range(jobs)))
    await eventually(lambda: len(sink.offers) == jobs)
    assert {offer.jobs[0].job for offer in sink.offers} == {ref.job for ref in refs}
    assert len({offer.driver for offer in sink.offers}) == jobs
    assert node.calls.count("candidates") <= 30
    assert node.calls.count("offer") <= 1.5 * jobs


async def test_jobs_behind_unservable_ones_are_served(node: Node) -> None:
    unservable = [
        await node.submit(requires=("crane",), priority=9) for _ in range(JOBS_AT_FIRST + 6)
    ]
    await node.waits(unservable[-1])
    ref = await node.submit()
    await node.waits(ref)
    await node.online("d")
    await node.offered(ref, "d")


async def test_job_that_breaks_its_rounds_is_a_dead_letter(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node = await make_node(retry_s=0.1)
    await node.online("d1")
    await node.online("d2", 1_200)
    broken = await node.submit(stores=("no-such-store",), priority=9)
    good = await node.submit()
    await node.offered(good, "d1")
    await node.is_in(broken, JobState.SCHEDULED)
    (letter,) = await node.store.dead_letters.list(MARKET)
    assert (letter.job, letter.kind, letter.error) == (broken.job, "job", "KeyError")
    assert sink.asked(broken) == []
    await node.offered(await node.submit(), "d2")


async def test_rounds_of_two_malls_are_independent(node: Node) -> None:
    await node.online("d", (OTHER_MALL.lat - MALL.lat) * 111_195)
    here = await node.submit(requires=("crane",))
    there = await node.submit(mall=OTHER_MALL.id, stores=(next(iter(OTHER_MALL.stores)),))
    await node.offered(there, "d")
    await node.waits(here)


async def test_quote_ranks_like_a_round_and_stores_nothing(node: Node) -> None:
    await node.online("bike", 100, vehicle=BIKE)
    await node.online("car", 500)
    ref = await node.submit(requires=("crane",))
    await node.waits(ref)
    need = replace((await node.job(ref)).need, requires=())
    before = await dump(node)
    record = await node.dispatcher.orders.quote(MALL.id, replace(need, weight_g=9_000))
    assert (record.job, record.round, record.capped) == ("", 0, False)
    assert [(c.driver, c.why_not) for c in record.candidates] == [
        ("car", None),
        ("bike", "too_heavy"),
    ]
    unservable_quote = await node.dispatcher.orders.quote(
        MALL.id, replace(need, requires=("crane",))
    )
    assert {c.why_not for c in unservable_quote.candidates} == {"lacks_equipment"}
    assert not unservable_quote.capped
    assert await dump(node) == before


async def dump(node: Node) -> dict[bytes, bytes]:
    """Every key with its value, except the nodes' leases, which are renewed all the time."""
    call = node.store.runner.link.call
    keys = [key for key in await call("KEYS", "*") if not key.endswith(b":nodes")]
    return {key: await call("DUMP", key) for key in keys}
