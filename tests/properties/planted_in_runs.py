"""Bugs planted in what runs and add-ons ask of the scripts, each with the story that finds it.

See `test_planted_bugs.py`. The market pools up to three jobs; `d2` has the room for them.
"""

from mallard_protocol.lifecycle import JobState
from tests.properties.job_rules import Order
from tests.properties.mallard import Mallard
from tests.properties.planting import Planted, Story
from tests.properties.world import MALLS

J0, J1, J2 = (f"job_phoenix.j00{n}" for n in range(3))
D2 = ["d2"]


def a_run_goes_out(mallard: Mallard, *, jobs: int = 2) -> None:
    mallard.a_day_begins([(Order(), 0)] * jobs)
    mallard.offer_run(dict.fromkeys([J0, J1, J2][:jobs], 0), D2)


def a_run_is_taken(mallard: Mallard, *, jobs: int = 2) -> None:
    a_run_goes_out(mallard, jobs=jobs)
    mallard.accept("o0", "d2")


def one_job_of_a_plan_is_gone(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.cancel(J1)
    mallard.offer_run({J0: 0, J1: 0}, D2)


def a_run_is_declined(mallard: Mallard) -> None:
    a_run_goes_out(mallard)
    mallard.decline("o0", "d2")


def a_run_lapses(mallard: Mallard) -> None:
    a_run_goes_out(mallard)
    mallard.time_to(mallard.model.offers["o0"].ack_by)
    mallard.sweep()


def one_job_of_an_offered_run_is_cancelled(mallard: Mallard) -> None:
    a_run_goes_out(mallard)
    mallard.cancel(J0)


def custody_of_one_job_of_an_offered_run(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, ["d1"])
    mallard.accept("o0", "d1")
    mallard.unassign(J0, 1)
    mallard.offer_run({J0: 2, J1: 0}, D2)
    mallard.step(J0, "d1", 1, "picked_up")


def a_run_that_only_one_has_room_for(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)] * 3)
    mallard.offer_run({J0: 0, J1: 0, J2: 0}, ["d3", "d1", "d0", "d2"])


def one_of_them_has_been_declined_before(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J1, 0, D2)
    mallard.decline("o0", "d2")
    mallard.time_to(mallard.model.drivers["d2"].cool)
    mallard.everybody_reports()
    mallard.sweep()
    mallard.offer_run({J0: 0, J1: 1}, [*D2, "d1"])


def one_more_on_the_way(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.round(MALLS[0])
    assert mallard.model.offers["o1"].add_on


def one_more_is_declined(mallard: Mallard) -> None:
    one_more_on_the_way(mallard)
    mallard.decline("o1", "d2")


def one_more_lapses(mallard: Mallard) -> None:
    one_more_on_the_way(mallard)
    mallard.offer_ack("o1", "d2")
    mallard.time_to(mallard.model.offers["o1"].expires)
    mallard.sweep()


def at_the_mall_nothing_is_added(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.step(J0, "d2", 1, "at_mall")
    mallard.offer(J1, 0, D2)


def from_another_mall_nothing_is_added(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(MALLS[1]), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.offer(J1, 0, D2)


def on_its_way_it_falls_silent(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.time_passes(61_000, reports=False)
    mallard.sweep()
    mallard.settle()


def a_run_is_told_anew_by_an_old_attempt(mallard: Mallard) -> None:
    a_run_is_taken(mallard)
    mallard.update_etas("d2", [J0, J1], old=1)


def one_job_of_a_run_is_given_up(mallard: Mallard) -> None:
    a_run_is_taken(mallard)
    mallard.step(J0, "d2", 1, "picked_up")
    mallard.step(J1, "d2", 1, "give_up")
    mallard.close(J0, JobState.DELIVERED)


def a_run_is_picked_up_one_by_one(mallard: Mallard) -> None:
    a_run_is_taken(mallard)
    for job in (J0, J1):
        mallard.step(job, "d2", 1, "at_mall")
        mallard.time_passes(60_000)
        mallard.step(job, "d2", 1, "picked_up")


def _run(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story, max_run_jobs=3)


PLANTED_IN_RUNS = (
    _run(
        "a run goes out without the job that is gone",
        "offer",
        "if #gone > 0 then return",
        "if #gone == #arg.attempts then return",
        one_job_of_a_plan_is_gone,
    ),
    _run(
        "a declined run gives back one job",
        "decline",
        "requeue_offered(run, offer, 'declined'",
        "requeue_offered({ run[1] }, offer, 'declined'",
        a_run_is_declined,
    ),
    _run(
        "a lapsed run gives back one job",
        "lapse",
        "requeue_offered(run, offer, outcome, 'engine')",
        "requeue_offered({ run[1] }, offer, outcome, 'engine')",
        a_run_lapses,
    ),
    _run(
        "a cancelled job leaves the others offered",
        "cancel",
        "requeue_offered(others, ",
        "requeue_offered({}, ",
        one_job_of_an_offered_run_is_cancelled,
    ),
    _run(
        "what goes back with a cancelled job bars its driver",
        "cancel",
        "offer, 'withdrawn', 'engine')",
        "offer, 'declined', 'engine')",
        one_job_of_an_offered_run_is_cancelled,
    ),
    _run(
        "custody leaves the others offered",
        "progress",
        "requeue_offered(others, ",
        "requeue_offered({}, ",
        custody_of_one_job_of_an_offered_run,
    ),
    _run(
        "a run is accepted in part",
        "accept",
        "for _, job in ipairs(run) do take_on(rec, job) end",
        "take_on(rec, run[1])",
        a_run_is_taken,
    ),
    _run(
        "the number is not counted",
        "offer",
        "if count > most_jobs(rec) then return false end",
        "if not rec.vehicle then return false end",
        a_run_that_only_one_has_room_for,
    ),
    _run(
        "the weight is not counted",
        "offer",
        "return weight <= rec.vehicle.max_weight_g and",
        "return",
        a_run_that_only_one_has_room_for,
    ),
    _run(
        "who declined one job of a run is not barred",
        "offer",
        "for _, job in ipairs(jobs) do\n    for _, turn",
        "for _, job in ipairs({ jobs[1] }) do\n    for _, turn",
        one_of_them_has_been_declined_before,
    ),
    _run(
        "a declined add-on cools its driver down",
        "decline",
        "if not offer.add_on then",
        "if true then",
        one_more_is_declined,
    ),
    _run(
        "a lapsed add-on cools its driver down",
        "lapse",
        "if not offer.add_on then",
        "if true then",
        one_more_lapses,
    ),
    _run(
        "a driver stays in coming with an offer",
        "offer",
        "    and not rec.offer and rec.cool",
        "    and rec.cool",
        one_more_on_the_way,
    ),
    _run(
        "a run's stays count as those of single stores",
        "progress",
        " and #rec.jobs == 1 then",
        " then",
        a_run_is_picked_up_one_by_one,
    ),
    _run(
        "an arrival goes unnoticed",
        "progress",
        "  held.there = true\n",
        "",
        at_the_mall_nothing_is_added,
    ),
    _run(
        "a run over two malls",
        "offer",
        "bound_for(rec) == jobs[1].mall",
        "bound_for(rec)",
        from_another_mall_nothing_is_added,
    ),
    _run(
        "who fell silent stays in coming",
        "driver_due",
        "if mall and not may_be_asked(rec, pos) then mall = nil end",
        "",
        on_its_way_it_falls_silent,
    ),
    _run(
        "etas are not fenced",
        "etas",
        " and tonumber(job[2]) == stop[1]",
        "",
        a_run_is_told_anew_by_an_old_attempt,
    ),
    _run(
        "who gives one job up gives all",
        "release",
        "drop_job(rec, job.id)\n  if reason",
        "rec.jobs = {}\n  if reason",
        one_job_of_a_run_is_given_up,
    ),
)
