"""Bugs in what follows from a shop's word about its hours, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from mallard_protocol.lifecycle import ShopState
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS

JOB = "job_phoenix.j000"
LATE = 600_000


def closes(mallard: Mallard, late: int = LATE) -> None:
    mallard.set_hours(MALLS[0], "lego", late)
    mallard.apply_hours(JOB, "lego")


def offered_and_closed(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    closes(mallard)


def held_and_open_again(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.problem(JOB, "d0", 1, "store_closed")
    closes(mallard, 0)


def held_for_longer(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    closes(mallard)
    closes(mallard, 2 * LATE)


def opens_as_the_driver_arrives(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.update_etas("d0", [JOB], late=LATE)
    eta = mallard.model.jobs[JOB].eta
    assert eta
    closes(mallard, eta[0] - mallard.now)


def another_shop_lacks_parcels(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap"), on_short="hold"), 2)])
    closes(mallard)
    mallard.shop_says(JOB, "gap", ShopState.MISSING)
    closes(mallard, 0)


def another_shop_opens(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap"), on_short="hold"), 2)])
    closes(mallard)
    mallard.apply_hours(JOB, "gap")


def driver_hears_it_twice(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 2)])
    mallard.set_hours(MALLS[0], "lego", LATE)
    mallard.apply_hours(JOB, "lego", "twice")


def driver_finds_it_closed_for_less(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.set_hours(MALLS[0], "lego", 2 * LATE)
    mallard.problem(JOB, "d0", 1, "store_closed", late=LATE)


def _planted(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story)


PLANTED_IN_HOURS = (
    _planted(
        "offer for a closed shop stays out",
        "shop_changes",
        "elseif job.state == 'offered' and till > 0 then",
        "elseif false then",
        offered_and_closed,
    ),
    _planted(
        "job waits for a shop that is open again",
        "shop_changes",
        "if till == 0 then return no_longer_closed(job, shop, arg.actor) end",
        "if till == 0 then return end",
        held_and_open_again,
    ),
    _planted(
        "longer word does not prolong the hold",
        "shop_changes",
        "  local at = math.max(math.min(till, job.expires_ms), now)\n",
        "  local at = job.held.until_ms\n",
        held_for_longer,
    ),
    _planted(
        "driver who arrives at the opening loses the job",
        "shop_changes",
        "till <= eta",
        "till < eta",
        opens_as_the_driver_arrives,
    ),
    _planted(
        "opening of one shop passes over another that lacks parcels",
        "shop_changes",
        "  if other then return wait_for(job, other) end\n",
        "",
        another_shop_lacks_parcels,
    ),
    _planted(
        "hours of another shop end the hold",
        "shop_changes",
        " and job.held.store == shop.store then wait_until()",
        " then wait_until()",
        another_shop_opens,
    ),
    _planted(
        "driver hears a repeated word again",
        "shop_changes",
        "not rec or redis.call('HGET', job.key, field) == word",
        "not rec",
        driver_hears_it_twice,
    ),
    _planted(
        "driver's report shortens the shop's own word",
        "problem",
        "math.max(till, word)",
        "till",
        driver_finds_it_closed_for_less,
    ),
)
