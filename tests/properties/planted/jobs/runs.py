"""Bugs in runs and add-ons, each with the story that finds it.

See `test_planted_bugs.py`. A run has up to three jobs; `d2` has room for them.
"""

from mallard_protocol.lifecycle import JobState
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS

J0, J1, J2 = (f"job_phoenix.j00{n}" for n in range(3))
D2 = ["d2"]


def run_is_offered(mallard: Mallard, *, jobs: int = 2) -> None:
    mallard.a_day_begins([(Order(), 0)] * jobs)
    mallard.offer_run(dict.fromkeys([J0, J1, J2][:jobs], 0), D2)


def run_is_accepted(mallard: Mallard, *, jobs: int = 2) -> None:
    run_is_offered(mallard, jobs=jobs)
    mallard.accept("o0", "d2")


def planned_job_is_cancelled(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.cancel(J1)
    mallard.offer_run({J0: 0, J1: 0}, D2)


def run_is_declined(mallard: Mallard) -> None:
    run_is_offered(mallard)
    mallard.decline("o0", "d2")


def offer_of_a_run_expires(mallard: Mallard) -> None:
    run_is_offered(mallard)
    mallard.time_to(mallard.model.offers["o0"].ack_by)
    mallard.sweep()


def one_job_of_an_offered_run_is_cancelled(mallard: Mallard) -> None:
    run_is_offered(mallard)
    mallard.cancel(J0)


def custody_of_one_job_of_an_offered_run(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, ["d1"])
    mallard.accept("o0", "d1")
    mallard.unassign(J0, 1)
    mallard.offer_run({J0: 2, J1: 0}, D2)
    mallard.step(J0, "d1", 1, "picked_up")


def run_fits_only_one_driver(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)] * 3)
    mallard.offer_run({J0: 0, J1: 0, J2: 0}, ["d3", "d1", "d0", "d2"])


def run_has_a_declined_job(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J1, 0, D2)
    mallard.decline("o0", "d2")
    mallard.time_to(mallard.model.drivers["d2"].cool)
    mallard.report_all()
    mallard.sweep()
    mallard.offer_run({J0: 0, J1: 1}, [*D2, "d1"])


def add_on_is_offered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.round(MALLS[0])
    assert mallard.model.offers["o1"].add_on


def add_on_is_declined(mallard: Mallard) -> None:
    add_on_is_offered(mallard)
    mallard.decline("o1", "d2")


def add_on_expires(mallard: Mallard) -> None:
    add_on_is_offered(mallard)
    mallard.offer_ack("o1", "d2")
    mallard.time_to(mallard.model.offers["o1"].expires)
    mallard.sweep()


def add_on_after_the_arrival(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.step(J0, "d2", 1, "at_mall")
    mallard.offer(J1, 0, D2)


def add_on_of_another_mall(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(MALLS[1]), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.offer(J1, 0, D2)


def express_is_planned_with_others(mallard: Mallard, *, first: bool = False) -> None:
    mallard.a_day_begins([(Order(express=first), 0), (Order(express=not first), 0)])
    mallard.offer_run({J0: 0, J1: 0}, D2)


def express_is_planned_as_an_add_on(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(express=True), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.offer(J1, 0, D2)


def more_is_planned_for_the_driver_of_an_express_job(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(express=True), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.offer(J1, 0, D2)


def express_comes_by_custody_while_an_add_on_is_offered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(express=True), 0), (Order(), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.unassign(J0, 1)
    mallard.offer(J1, 0, D2)
    mallard.accept("o1", "d2")
    mallard.offer(J2, 0, D2)
    assert mallard.model.offers["o2"].add_on
    mallard.step(J0, "d2", 1, "picked_up")
    mallard.accept("o2", "d2")


def express_is_assigned_beside_another(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(express=True), 0), (Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.assign(J1, "d2")
    assert len(mallard.model.drivers["d2"].jobs) == 2
    mallard.offer(J2, 0, D2)


def driver_on_its_way_becomes_stale(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.offer(J0, 0, D2)
    mallard.accept("o0", "d2")
    mallard.time_passes(61_000, reports=False)
    mallard.sweep()
    mallard.settle()


def etas_of_an_old_attempt(mallard: Mallard) -> None:
    run_is_accepted(mallard)
    mallard.update_etas("d2", [J0, J1], old=1)


def one_job_of_a_run_is_given_up(mallard: Mallard) -> None:
    run_is_accepted(mallard)
    mallard.step(J0, "d2", 1, "picked_up")
    mallard.step(J1, "d2", 1, "give_up")
    mallard.close(J0, JobState.DELIVERED)


def run_is_picked_up_one_by_one(mallard: Mallard) -> None:
    run_is_accepted(mallard)
    for job in (J0, J1):
        mallard.step(job, "d2", 1, "at_mall")
        mallard.time_passes(60_000)
        mallard.step(job, "d2", 1, "picked_up")


def _run(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story, max_run_jobs=3)


PLANTED_IN_RUNS = (
    _run(
        "run is offered without the job that is gone",
        "offer",
        "if #gone > 0 then return",
        "if #gone == #arg.attempts then return",
        planned_job_is_cancelled,
    ),
    _run(
        "declined run requeues only one job",
        "decline",
        "requeue_offered(run, offer, 'declined'",
        "requeue_offered({ run[1] }, offer, 'declined'",
        run_is_declined,
    ),
    _run(
        "expired run requeues only one job",
        "lapse",
        "requeue_offered(run, offer, outcome, 'engine')",
        "requeue_offered({ run[1] }, offer, outcome, 'engine')",
        offer_of_a_run_expires,
    ),
    _run(
        "cancelled job leaves the others of its run offered",
        "cancel",
        "requeue_offered(others, ",
        "requeue_offered({}, ",
        one_job_of_an_offered_run_is_cancelled,
    ),
    _run(
        "driver is excluded from the others of a cancelled run",
        "cancel",
        "offer, 'withdrawn', 'engine')",
        "offer, 'declined', 'engine')",
        one_job_of_an_offered_run_is_cancelled,
    ),
    _run(
        "custody leaves the others of its run offered",
        "progress",
        "requeue_offered(others, ",
        "requeue_offered({}, ",
        custody_of_one_job_of_an_offered_run,
    ),
    _run(
        "run is accepted partly",
        "accept",
        "for _, job in ipairs(run) do take_on(rec, job, false, offer.gate) end",
        "take_on(rec, run[1], false, offer.gate)",
        run_is_accepted,
    ),
    _run(
        "number of jobs is not limited",
        "offer",
        "if count > most_jobs(rec) then return false end",
        "if not rec.vehicle then return false end",
        run_fits_only_one_driver,
    ),
    _run(
        "weight is not limited",
        "offer",
        "return weight <= rec.vehicle.max_weight_g and",
        "return",
        run_fits_only_one_driver,
    ),
    _run(
        "driver who declined one job of a run is asked again",
        "offer",
        "for _, job in ipairs(jobs) do\n    for _, turn",
        "for _, job in ipairs({ jobs[1] }) do\n    for _, turn",
        run_has_a_declined_job,
    ),
    _run(
        "declined add-on has a cool-down",
        "decline",
        "if not offer.add_on then",
        "if true then",
        add_on_is_declined,
    ),
    _run(
        "expired add-on has a cool-down",
        "lapse",
        "if not offer.add_on then",
        "if true then",
        add_on_expires,
    ),
    _run(
        "driver with an offer stays in coming",
        "offer",
        "    and not rec.offer and rec.cool",
        "    and rec.cool",
        add_on_is_offered,
    ),
    _run(
        "stay for several jobs is counted",
        "progress",
        " and #rec.jobs == 1 then",
        " then",
        run_is_picked_up_one_by_one,
    ),
    _run(
        "arrival is not recorded",
        "progress",
        "  held.there = true\n",
        "",
        add_on_after_the_arrival,
    ),
    _run(
        "add-on of another mall is offered",
        "offer",
        "bound_for(rec) == jobs[1].mall",
        "bound_for(rec)",
        add_on_of_another_mall,
    ),
    _run(
        "express job is offered in a run",
        "offer",
        "if is_express(job) and not by_operator then return false end",
        "",
        express_is_planned_with_others,
    ),
    _run(
        "express job is offered as an add-on",
        "offer",
        "if is_express(job) and not by_operator then return false end",
        "if #jobs > 1 and is_express(job) then return false end",
        express_is_planned_as_an_add_on,
    ),
    _run(
        "driver of an express job stays in coming",
        "accept",
        "held.there or held.alone or",
        "held.there or",
        more_is_planned_for_the_driver_of_an_express_job,
    ),
    _run(
        "driver of an express job does not record it",
        "accept",
        "held.there, held.alone = there, is_express(job) or nil",
        "held.there = there",
        more_is_planned_for_the_driver_of_an_express_job,
    ),
    _run(
        "add-on is accepted beside an express job in custody",
        "accept",
        " or (held.alone and not by_operator) then",
        " then",
        express_comes_by_custody_while_an_add_on_is_offered,
    ),
    _run(
        "operator cannot assign an express job beside another",
        "assign",
        "fits(rec, { job }, true)",
        "fits(rec, { job })",
        express_is_assigned_beside_another,
    ),
    _run(
        "stale driver stays in coming",
        "driver_due",
        "if mall and not may_be_asked(rec, pos) then mall = nil end",
        "",
        driver_on_its_way_becomes_stale,
    ),
    _run(
        "etas ignore the attempt",
        "etas",
        " and tonumber(job[2]) == stop[1]",
        "",
        etas_of_an_old_attempt,
    ),
    _run(
        "give-up of one job drops the run",
        "release",
        "drop_job(rec, job.id)\n  if reason",
        "rec.jobs = {}\n  if reason",
        one_job_of_a_run_is_given_up,
    ),
)
