"""Counts of offer outcomes in a driver's record: once each, bounded, only where enabled."""

from mallard_engine.core.matching.acceptance import CELLS, FULL, LENGTH, cell_of, read_counts
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import Step
from tests.engine.storage.worlds import COOLDOWN_MS, MARKET, OFFER_MS, World

PART = 1
CELL = cell_of(2, PART)


async def offered(world: World, cell: int | None = CELL) -> tuple[JobRef, str]:
    await world.fix("ann")
    ref = await world.submit()
    return ref, await world.offer(ref, "ann", cell=cell)


async def counts(world: World) -> tuple[int, int, int, int]:
    """Accepted and refused in the cell; declined and lapsed."""
    read = read_counts((await world.record()).history, PART)
    return read.accepted[2], read.refused[2], read.declined, read.lapsed


async def accepts(world: World) -> None:
    ref, offer = await offered(world)
    (job,) = (await world.store.offers.accept(MARKET, "ann", offer)).jobs
    await world.store.offers.accept(MARKET, "ann", offer)
    await world.step(ref, Step.PICKED_UP, job.attempt)
    await world.step(ref, Step.DELIVERED, job.attempt)


async def declines(world: World) -> None:
    ref, offer = await offered(world)
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.store.jobs.cancel(ref, "toys", "")
    await world.pass_ms(COOLDOWN_MS)


async def lapses(world: World) -> None:
    ref, offer = await offered(world)
    entry = await world.entry(ref)
    await world.store.offers.ack(MARKET, "ann", offer)
    await world.pass_ms(OFFER_MS)
    await world.store.deadlines.lapse(entry)
    await world.store.deadlines.lapse(entry)
    await world.store.jobs.cancel(ref, "toys", "")
    await world.pass_ms(COOLDOWN_MS)


async def test_offer_outcome_counts_once_in_its_cell(world: World) -> None:
    await world.driver("ann")
    await accepts(world)
    await declines(world)
    await lapses(world)
    await accepts(world)
    assert await counts(world) == (2, 2, 1, 1)
    history = (await world.record()).history
    assert sum(history.encode()[: 2 * CELLS]) == 4


async def test_withdrawn_or_unacknowledged_offer_is_not_counted(world: World) -> None:
    await world.driver("ann")
    ref, offer = await offered(world)
    await world.store.offers.withdraw(ref, offer, "engine")
    await world.store.jobs.cancel(ref, "toys", "")
    ref, _ = await offered(world)
    await world.pass_ms(OFFER_MS // 2)
    await world.store.deadlines.lapse(await world.entry(ref))  # not acknowledged
    assert (await world.record()).history == ""


async def test_offer_without_a_cell_keeps_no_history(world: World) -> None:
    await world.driver("ann")
    _, offer = await offered(world, None)
    await world.store.offers.decline(MARKET, "ann", offer, "")
    ann = await world.record()
    assert (ann.history, ann.declines) == ("", 1.0)


async def test_full_pair_of_counts_is_halved(world: World) -> None:
    await world.driver("ann")
    for _ in range(FULL):
        await declines(world)
    assert await counts(world) == (0, FULL, FULL, 0)
    await accepts(world)
    assert await counts(world) == (0, FULL // 2, FULL, 0)
    await lapses(world)
    assert await counts(world) == (0, FULL // 2 + 1, FULL // 2, 0)
    assert len((await world.record()).history) == LENGTH


async def test_history_is_kept_after_a_reconnect(world: World) -> None:
    await world.driver("ann")
    await declines(world)
    await world.connect("ann")
    assert await counts(world) == (0, 1, 1, 0)
