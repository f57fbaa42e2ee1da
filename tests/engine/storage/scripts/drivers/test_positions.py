"""Positions: which fixes are accepted, how they move the index, which pushes they send."""

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.ports import DriverFix, Refused
from mallard_protocol.lifecycle import Wish
from tests.engine.storage.worlds import LAT, LON, MARKET, NODE, STALE_MS, World

M_PER_DEG_LAT = 111_195.0
MAX_SPEED_MPS = 70.0


def north_of(meters: float, of: float = LAT) -> float:
    return of + meters / M_PER_DEG_LAT


async def place(world: World, driver: str = "ann") -> tuple[float, float] | None:
    """The driver's place in the index; None if it has none."""
    (at,) = await world.redis.geopos(world.keys.key("idle"), driver)
    return (round(at[1], 4), round(at[0], 4)) if at else None


async def test_accepted_fix_moves_the_driver_in_the_index(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(1_000)
    before = await world.redis.hget(world.keys.key("drivers"), "ann")
    recorded = await world.store.drivers.record_positions(
        MARKET, [DriverFix("ann", world.now - 300, LAT + 0.0005, LON, 7.5)]
    )
    assert recorded.verdicts == ("ok",)
    assert recorded.effects.freed == ()
    ann = await world.record()
    assert ann.position is not None
    assert (ann.position.lat, ann.position.lon, ann.position.acc_m) == (LAT + 0.0005, LON, 7.5)
    assert (ann.position.at_ms, ann.position.received_ms) == (world.now - 300, world.now)
    assert await place(world) == (round(LAT + 0.0005, 4), LON)
    # The common case does not write the driver's record.
    assert await world.redis.hget(world.keys.key("drivers"), "ann") == before


async def test_ineligible_driver_stays_out_of_the_index(world: World) -> None:
    await world.connect("ann")
    await world.pass_ms(1_000)
    assert await world.fix("ann") == "ok"
    assert await place(world) is None
    await world.driver("bob")
    await world.offered("bob")
    await world.pass_ms(1_000)
    assert await world.fix("bob") == "ok"
    assert await world.idle() == set()


async def test_fix_of_a_stale_driver_restores_and_frees_it(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(STALE_MS + 1)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == set()
    recorded = await world.store.drivers.record_positions(
        MARKET, [DriverFix("ann", world.now, LAT, LON)]
    )
    assert [(f.driver, f.lat, f.lon) for f in recorded.effects.freed] == [("ann", LAT, LON)]
    assert await world.idle() == {"ann"}
    assert (await world.due())["driver/ann"] == world.now + STALE_MS + 1


async def test_first_position_allows_available(world: World) -> None:
    await world.store.drivers.hello(MARKET, "ann", node=NODE, vehicle=Vehicle(), fix=None)
    assert await world.fix("ann") == "ok"
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert await world.idle() == {"ann"}


@pytest.mark.parametrize("behind_ms", [0, 1, 60_000])
async def test_fix_not_newer_than_the_last_is_old(world: World, behind_ms: int) -> None:
    await world.driver("ann")
    at_ms = world.now
    await world.pass_ms(1_000)
    assert await world.fix("ann", LAT + 0.001, at_ms=at_ms - behind_ms) == "old"
    ann = await world.record()
    assert ann.position is not None
    assert (ann.position.lat, ann.position.received_ms) == (LAT, at_ms)
    assert await place(world) == (LAT, LON)


@pytest.mark.finding("C3")
async def test_repeated_last_fix_keeps_a_parked_driver_fresh(world: World) -> None:
    await world.driver("ann")
    at_ms = world.now
    for _ in range(20):
        await world.pass_ms(STALE_MS // 10)
        assert await world.fix("ann", at_ms=at_ms) == "ok"
        await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == {"ann"}
    assert await world.pushes() == []
    ann = await world.record()
    assert ann.position is not None
    assert (ann.position.at_ms, ann.position.received_ms) == (at_ms, world.now)


@pytest.mark.finding("C3")
async def test_repeated_fix_ends_a_series_of_rejections(world: World) -> None:
    await world.driver("ann")
    at_ms = world.now
    for _ in range(4):
        await world.pass_ms(1_000)
        assert await world.fix("ann", at_ms=at_ms - 1) == "old"
        assert await world.fix("ann", at_ms=at_ms - 2) == "old"
        assert await world.fix("ann", at_ms=at_ms) == "ok"
    assert await world.pushes() == []


@pytest.mark.finding("C4")
@pytest.mark.parametrize(("age_ms", "verdict"), [(STALE_MS, "ok"), (STALE_MS + 1, "old")])
async def test_stale_first_fix_is_ignored(world: World, age_ms: int, verdict: str) -> None:
    await world.store.drivers.hello(MARKET, "ann", node=NODE, vehicle=None, fix=None)
    assert await world.fix("ann", at_ms=world.now - age_ms) == verdict
    assert ((await world.record()).position is not None) == (verdict == "ok")
    if verdict == "old":
        with pytest.raises(Refused, match="no_position"):
            await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)


@pytest.mark.finding("C4")
async def test_stale_position_in_hello_is_ignored(world: World) -> None:
    fix = DriverFix("ann", world.now - 86_400_000, LAT, LON)
    await world.store.drivers.hello(MARKET, "ann", node=NODE, vehicle=None, fix=fix)
    assert (await world.record()).position is None


@pytest.mark.finding("C4")
async def test_old_fix_after_a_long_absence_is_ignored(world: World) -> None:
    await world.driver("ann")
    last_ms = world.now
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(3 * STALE_MS)
    await world.store.drivers.hello(MARKET, "ann", node=NODE, vehicle=None, fix=None)
    # The last fix again, then a newer one that is also too old.
    for at_ms in (last_ms, last_ms + STALE_MS):
        assert await world.fix("ann", at_ms=at_ms) == "old"
        with pytest.raises(Refused, match="no_position"):
            await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert await world.fix("ann") == "ok"


@pytest.mark.finding("C4")
async def test_late_fix_of_a_fresh_driver_is_accepted(world: World) -> None:
    await world.driver("ann")
    at_ms = world.now
    await world.pass_ms(STALE_MS - 1)
    assert await world.fix("ann", at_ms=at_ms + 1) == "ok"
    await world.pass_ms(STALE_MS - 1)
    assert await world.fix("ann", at_ms=at_ms + 2) == "ok"


@pytest.mark.finding("C2")
async def test_malformed_fixes_count_as_rejected_once(world: World) -> None:
    await world.driver("ann")
    malformed = DriverFix("ann", 0, 0.0, 0.0, fault="malformed")
    for _ in range(8):
        await world.pass_ms(1_000)
        recorded = await world.store.drivers.record_positions(MARKET, [malformed])
        assert recorded.verdicts == ("malformed",)
    assert [(p.kind, p.why) for p in await world.pushes()] == [("state", "fixes_rejected")]
    assert await place(world) == (LAT, LON)


@pytest.mark.finding("C2")
async def test_rejections_before_a_good_fix_send_no_push(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(10_000)
    malformed = DriverFix("ann", 0, 0.0, 0.0, fault="malformed")
    good = DriverFix("ann", world.now, LAT, LON)
    recorded = await world.store.drivers.record_positions(MARKET, [*[malformed] * 9, good])
    assert recorded.verdicts == (*["malformed"] * 9, "ok")
    assert await world.pushes() == []


@pytest.mark.parametrize(("ahead_ms", "verdict"), [(5_000, "ok"), (5_001, "future")])
async def test_fix_may_be_five_seconds_ahead(world: World, ahead_ms: int, verdict: str) -> None:
    await world.driver("ann")
    assert await world.fix("ann", at_ms=world.now + ahead_ms) == verdict


@pytest.mark.parametrize(
    ("meters", "verdict"), [(MAX_SPEED_MPS * 9.99, "ok"), (MAX_SPEED_MPS * 10.01, "impossible")]
)
async def test_fix_faster_than_the_maximum_is_impossible(
    world: World, meters: float, verdict: str
) -> None:
    await world.driver("ann")
    await world.pass_ms(10_000)
    assert await world.fix("ann", north_of(meters)) == verdict
    expected = north_of(meters) if verdict == "ok" else LAT
    assert await place(world) == (round(expected, 4), LON)


async def test_short_jump_within_a_second_is_accepted(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(1)
    assert await world.fix("ann", north_of(MAX_SPEED_MPS * 0.99)) == "ok"


async def test_three_agreeing_impossible_fixes_are_accepted(world: World) -> None:
    await world.driver("ann")
    there = north_of(200_000)
    verdicts = []
    for second in range(1, 4):
        await world.pass_ms(1_000)
        verdicts.append(await world.fix("ann", north_of(second, there)))
    assert verdicts == ["impossible", "impossible", "ok"]
    assert await place(world) == (round(north_of(3, there), 4), LON)


async def test_disagreeing_impossible_fixes_are_rejected(world: World) -> None:
    await world.driver("ann")
    for turn in range(8):
        await world.pass_ms(1_000)
        far = north_of(200_000 if turn % 2 else -200_000)
        assert await world.fix("ann", far) == "impossible"
    assert await place(world) == (LAT, LON)


async def test_fix_outside_the_market_is_refused(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(1_000)
    outside = DriverFix("ann", world.now, LAT, LON, fault="outside")
    assert (await world.store.drivers.record_positions(MARKET, [outside])).verdicts == ("outside",)
    ann = await world.record()
    assert ann.position is not None
    assert ann.position.received_ms == world.now - 1_000


async def test_fix_of_an_unknown_driver_is_refused(world: World) -> None:
    assert await world.fix("nobody") == "unknown"
    assert await world.redis.hlen(world.keys.key("positions")) == 0


async def test_fixes_of_a_batch_are_checked_in_order(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    await world.pass_ms(4_000)
    fixes = [
        DriverFix("ann", world.now - 3_000, north_of(10), LON),
        DriverFix("nobody", world.now, LAT, LON),
        DriverFix("bob", world.now, north_of(30), LON),
        DriverFix("ann", world.now - 3_000, north_of(11), LON),
        DriverFix("ann", world.now - 1_000, north_of(40), LON),
        DriverFix("ann", world.now, north_of(9_000), LON),
    ]
    recorded = await world.store.drivers.record_positions(MARKET, fixes)
    assert recorded.verdicts == ("ok", "unknown", "ok", "old", "ok", "impossible")
    assert await place(world, "ann") == (round(north_of(40), 4), LON)
    assert await place(world, "bob") == (round(north_of(30), 4), LON)


async def test_batch_of_256_fixes_is_accepted_and_257_refused(world: World) -> None:
    drivers = [f"d{number}" for number in range(256)]
    for driver in drivers:
        await world.connect(driver)
    await world.pass_ms(1_000)
    fixes = [DriverFix(driver, world.now, LAT, LON) for driver in drivers]
    assert set((await world.store.drivers.record_positions(MARKET, fixes)).verdicts) == {"ok"}
    with pytest.raises(ValueError, match="at most 256"):
        await world.store.drivers.record_positions(MARKET, [*fixes, fixes[0]])
    assert (await world.store.drivers.record_positions(MARKET, [])).verdicts == ()


@pytest.mark.parametrize(
    ("ahead_ms", "lat", "why"),
    [(6_000, LAT, "clock_skew"), (-6_000, LAT, "clock_skew"), (0, 35.0, "fixes_rejected")],
)
async def test_repeated_rejections_are_pushed_once(
    world: World, ahead_ms: int, lat: float, why: str
) -> None:
    await world.driver("ann")
    for turn in range(8):
        await world.pass_ms(100)
        # The far places alternate, as three that agree would be accepted.
        place = lat if turn % 2 or lat == LAT else -lat
        assert await world.fix("ann", place, at_ms=world.now + ahead_ms) != "ok"
    assert [(p.seq, p.kind, p.why) for p in await world.pushes()] == [(1, "state", why)]
    await world.pass_ms(1_000)
    assert await world.fix("ann") == "ok"
    assert (await world.record()).seq == 1


async def test_clock_that_was_set_back_refuses_no_later_fix(world: World) -> None:
    """Else the driver would stay where it was until the clock is there again."""
    await world.driver("ann")
    await world.pass_ms(-3_600_000)
    # An app that does not know of it yet.
    assert await world.fix("ann", at_ms=world.now + 3_600_000) == "future"
    assert await world.fix("ann", north_of(900)) == "ok"
    at = (await world.record()).position
    assert at is not None
    assert at.received_ms == world.now
    assert await place(world) == (round(north_of(900), 4), LON)
    await world.pass_ms(1_000)
    assert await world.fix("ann", at_ms=world.now - 2_000) == "old"


async def test_near_drivers_are_found_in_every_state(world: World) -> None:
    await world.driver("far", lat=north_of(5_000))
    await world.connect("off", lat=north_of(300))
    await world.driver("ann", lat=north_of(100))
    near = await world.store.drivers.near(MARKET, LAT, LON, 1_000, 10)
    shown = [(driver.id, driver.shown) for driver in near]
    assert shown == [("ann", "available"), ("off", "offline")]
    assert [d.id for d in await world.store.drivers.near(MARKET, LAT, LON, 9_000, 1)] == ["ann"]
    assert await world.store.drivers.near(MARKET, LAT + 1, LON, 1_000, 10) == []
