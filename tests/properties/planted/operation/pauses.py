"""Bugs in pauses, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.jobs.rounds import ALL, JOB
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS

MALL = MALLS[0]


def offered_in_a_paused_market(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.operator_pauses(("", ""), paused=True)
    mallard.offer(JOB, 0, ALL)


def offered_at_a_paused_mall(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.operator_pauses((MALL, ""), paused=True)
    mallard.offer(JOB, 0, ALL)


def offered_with_a_paused_second_shop(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 0)])
    mallard.operator_pauses((MALL, "gap"), paused=True)
    mallard.offer(JOB, 0, ALL)


def second_job_of_a_run_is_of_a_paused_shop(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(stores=("gap",)), 0)])
    mallard.operator_pauses((MALL, "gap"), paused=True)
    mallard.offer_run({JOB: 0, "job_phoenix.j001": 0}, ALL)


def next_offer_of_a_round_in_a_pause(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL, 3)
    mallard.offer_ack("o0", "d0")
    mallard.operator_pauses(("", ""), paused=True)
    mallard.time_to(mallard.model.rounds[JOB].next)
    mallard.offer_more(JOB)


def declined_in_a_pause(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL, 3)
    mallard.operator_pauses((MALL, "lego"), paused=True)
    mallard.decline("o0", "d0")


def late_job_in_a_pause(mallard: Mallard) -> None:
    """A holder falls silent on its way while its mall is paused: it keeps the job."""
    mallard.a_day_begins([(Order(), 2)])
    lost_ms = mallard.now
    mallard.disconnect("d0", 0)
    mallard.time_to(lost_ms + mallard.model.resume_ms)
    mallard.report_all()
    mallard.operator_pauses((MALL, ""), paused=True)
    mallard.hand_over(mallard.job_at(0), 1, ALL, lost=lost_ms)


def accepted_assigned_and_resumed(mallard: Mallard) -> None:
    """Live offers go on, an operator may assign, and offers are made again afterwards."""
    mallard.a_day_begins([(Order(), 1), (Order(), 0), (Order(), 0)])
    mallard.operator_pauses(("", ""), paused=True)
    mallard.accept("o0", mallard.model.offers["o0"].driver)
    mallard.assign("job_phoenix.j001", "d1")
    mallard.operator_pauses(("", ""), paused=False)
    mallard.offer("job_phoenix.j002", 0, ["d2"])


def paused_by_another_operator_too(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.operator_pauses(("", ""), paused=True)
    mallard.pass_time(5_000)
    mallard.operator_pauses(("", ""), paused=True, how="twice")


_GUARD = "if redis.call('EXISTS', K.pauses) == 0 then return false end\n"

PLANTED_IN_PAUSES = (
    Planted(
        "offer ignores a paused market",
        "offer",
        (("local places = { '*', jobs[1].mall }", "local places = { jobs[1].mall }"),),
        offered_in_a_paused_market,
    ),
    Planted(
        "offer ignores a paused mall",
        "offer",
        (("local places = { '*', jobs[1].mall }", "local places = { '*' }"),),
        offered_at_a_paused_mall,
    ),
    Planted(
        "offer looks at the first shop only",
        "offer",
        (
            (
                "for _, store in ipairs(need.stores or {}) do\n",
                "for _, store in ipairs({ need.stores[1] }) do\n",
            ),
        ),
        offered_with_a_paused_second_shop,
    ),
    Planted(
        "offer looks at the first job of a run only",
        "offer",
        (("if K.is_paused(jobs)", "if K.is_paused({ jobs[1] })"),),
        second_job_of_a_run_is_of_a_paused_shop,
        max_run_jobs=3,
    ),
    Planted(
        "staggered round goes on during a pause",
        "offer_more",
        ((_GUARD, "do return false end\n"),),
        next_offer_of_a_round_in_a_pause,
    ),
    Planted(
        "declined offer is followed by the next during a pause",
        "decline",
        ((_GUARD, "do return false end\n"),),
        declined_in_a_pause,
    ),
    Planted(
        "late job is reassigned during a pause",
        "hand_over",
        ((_GUARD, "do return false end\n"),),
        late_job_in_a_pause,
    ),
    Planted(
        "resume keeps the pause",
        "pause",
        (("  redis.call('HDEL', PAUSES, place)\n", ""),),
        accepted_assigned_and_resumed,
    ),
    Planted(
        "second pause replaces the first",
        "pause",
        (("if arg.paused and not packed then", "if arg.paused then"),),
        paused_by_another_operator_too,
    ),
)
