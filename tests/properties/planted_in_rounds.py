"""Bugs planted in what staggered rounds ask of the scripts, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.job_rules import Order
from tests.properties.mallard import Mallard
from tests.properties.planting import Planted, Story

JOB = "job_phoenix.j000"
ALL = ["d0", "d1", "d2", "d3"]


def a_round_of_two_is_out(mallard: Mallard, *, most: int = 3) -> None:
    """`o0` is d0's, `o1` is d1's; both have it on their screens."""
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL, most)
    mallard.offer_ack("o0", "d0")
    _the_next_is_asked(mallard)
    mallard.offer_ack("o1", "d1")


def _the_next_is_asked(mallard: Mallard) -> None:
    mallard.time_to(mallard.model.rounds[JOB].next)
    mallard.offer_more(JOB)


def both_accept(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.accept("o1", "d1", "n2")
    mallard.accept("o0", "d0")


def the_loser_is_asked_for_the_next_job(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.accept("o1", "d1")
    mallard.submit(Order())
    mallard.offer("job_phoenix.j001", 0, ["d0"])


def the_first_declines(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.decline("o0", "d0")
    mallard.accept("o1", "d1")


def the_first_lapses(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL)
    _the_next_is_asked(mallard)
    mallard.offer_ack("o1", "d1")
    mallard.time_to(mallard.model.offers["o0"].ack_by)
    mallard.sweep()


def the_second_lapses(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL)
    mallard.offer_ack("o0", "d0")
    _the_next_is_asked(mallard)
    mallard.time_to(mallard.model.offers["o1"].ack_by)
    mallard.sweep()


def one_is_withdrawn(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.withdraw("o1")


def more_time_passes_than_the_round_has_drivers(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard, most=2)
    mallard.time_passes(1_000)
    mallard.offer_more(JOB)


def it_is_early(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL)
    mallard.offer_more(JOB)


def all_decline(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard, most=2)
    mallard.decline("o0", "d0")
    mallard.decline("o1", "d1")


def the_job_is_cancelled(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.cancel(JOB)


def the_job_is_assigned_to_one_of_them(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.assign(JOB, "d1")


def custody_ends_the_round(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.unassign(JOB, 1)
    mallard.begin_round(JOB, 2, ["d1", "d2", "d3"])
    _the_next_is_asked(mallard)
    mallard.step(JOB, "d0", 1, "picked_up")


def an_operator_ends_the_round_of_an_expired_job(mallard: Mallard) -> None:
    a_round_of_two_is_out(mallard)
    mallard.time_to(mallard.model.jobs[JOB].expires)
    mallard.expire(JOB)


def _round(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story)


_END = "if offer.staggered then rounds().finish(run[1], arg.offer, 'withdrawn', 'taken') end\n"

_FINISH = "  if offer.staggered then rounds().finish(job, id, outcome, why) end\n"

PLANTED_IN_ROUNDS = (
    Planted(
        "two winners",
        "accept",
        (
            (_END, "if offer.staggered then rounds().drop(run[1]) end\n"),
            ("not is_out(id, offer, job) or job.state ~= 'offered'\n      or ", ""),
        ),
        both_accept,
    ),
    _round("losers of a round get no push", "accept", _END, "", both_accept),
    _round(
        "who lost is not freed",
        "accept",
        "    rec.offer = nil\n",
        "",
        the_loser_is_asked_for_the_next_job,
    ),
    _round(
        "who lost is barred",
        "accept",
        "finish(run[1], arg.offer, 'withdrawn', ",
        "finish(run[1], arg.offer, 'declined', ",
        both_accept,
    ),
    _round(
        "a declined one takes the job back",
        "decline",
        "if not goes_on then",
        "if true then",
        the_first_declines,
    ),
    _round(
        "a lapsed one takes the job back",
        "lapse",
        "if not goes_on then",
        "if true then",
        the_first_lapses,
    ),
    _round(
        "a lapse passes over all but the first",
        "lapse",
        "    or (offer.staggered and job.state == 'offered' and job.attempt == offer.attempt)\n",
        "",
        the_second_lapses,
    ),
    _round(
        "a withdrawn one ends the round",
        "withdraw",
        "if offer.staggered then\n  take_back",
        "if offer.staggered and offer.attempt == 0 then\n  take_back",
        one_is_withdrawn,
    ),
    _round(
        "the first is not passed on",
        "decline",
        "    job.offer = round.live[1]\n",
        "",
        the_first_declines,
    ),
    _round(
        "a declined one's due entry stays",
        "decline",
        "    round_of.falls_due_no_more(round_of.offer_member(job, id))\n    save",
        "    save",
        the_first_declines,
    ),
    _round(
        "the attempt rises in mid-round",
        "offer_more",
        "local id = table.remove(round.ids)\n",
        "local id = table.remove(round.ids)\n      job.attempt = job.attempt + 1\n",
        both_accept,
    ),
    Planted(
        "more are asked than the rung says",
        "offer_more",
        (
            ("round.asked >= round.most or #round.rest == 0", "#round.rest == 0"),
            ("if round.asked >= round.most or now", "if now"),
            (
                "local id = table.remove(round.ids)\n",
                "local id = table.remove(round.ids) or 'o99'\n",
            ),
        ),
        more_time_passes_than_the_round_has_drivers,
    ),
    _round(
        "the next is asked too early", "offer_more", "now < round.next_ms", "false", it_is_early
    ),
    _round(
        "no next driver is asked",
        "offer",
        "  if #plans > 0 then falls_due('more/' .. job.mall .. '/' .. job.id, next_ms) end\n",
        "",
        both_accept,
    ),
    _round(
        "a round without a driver leaves its record",
        "decline",
        "    redis.call('HDEL', job.key, 'round')\n",
        "",
        all_decline,
    ),
    _round(
        "a cancelled job leaves offers out",
        "cancel",
        _FINISH,
        "",
        the_job_is_cancelled,
    ),
    _round(
        "an expired job leaves offers out",
        "expire",
        _FINISH,
        "",
        an_operator_ends_the_round_of_an_expired_job,
    ),
    _round(
        "custody leaves offers out",
        "progress",
        _FINISH,
        "",
        custody_ends_the_round,
    ),
    _round(
        "who is asked cannot be assigned",
        "assign",
        "offer and not (offer.staggered and offer.jobs[1].job == job.id)",
        "offer",
        the_job_is_assigned_to_one_of_them,
    ),
)
