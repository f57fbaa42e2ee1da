"""Bugs in staggered rounds, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"
ALL = ["d0", "d1", "d2", "d3"]


def two_offers_are_live(mallard: Mallard, *, most: int = 3) -> None:
    """Offer a job to d0 (`o0`) and d1 (`o1`), who acknowledge."""
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL, most)
    mallard.offer_ack("o0", "d0")
    _ask_next(mallard)
    mallard.offer_ack("o1", "d1")


def _ask_next(mallard: Mallard) -> None:
    mallard.time_to(mallard.model.rounds[JOB].next)
    mallard.offer_more(JOB)


def both_accept(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.accept("o1", "d1", "n2")
    mallard.accept("o0", "d0")


def loser_gets_the_next_job(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.accept("o1", "d1")
    mallard.submit(Order())
    mallard.offer("job_phoenix.j001", 0, ["d0"])


def first_driver_declines(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.decline("o0", "d0")
    mallard.accept("o1", "d1")


def first_offer_expires(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL)
    _ask_next(mallard)
    mallard.offer_ack("o1", "d1")
    mallard.time_to(mallard.model.offers["o0"].ack_by)
    mallard.sweep()


def second_offer_expires(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL)
    mallard.offer_ack("o0", "d0")
    _ask_next(mallard)
    mallard.time_to(mallard.model.offers["o1"].ack_by)
    mallard.sweep()


def one_offer_is_withdrawn(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.withdraw("o1")


def round_continues_beyond_its_limit(mallard: Mallard) -> None:
    two_offers_are_live(mallard, most=2)
    mallard.time_passes(1_000)
    mallard.offer_more(JOB)


def next_offer_is_early(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ALL)
    mallard.offer_more(JOB)


def all_decline(mallard: Mallard) -> None:
    two_offers_are_live(mallard, most=2)
    mallard.decline("o0", "d0")
    mallard.decline("o1", "d1")


def job_is_cancelled(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.cancel(JOB)


def job_is_assigned_to_an_offered_driver(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.assign(JOB, "d1")


def custody_ends_the_round(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.unassign(JOB, 1)
    mallard.begin_round(JOB, 2, ["d1", "d2", "d3"])
    _ask_next(mallard)
    mallard.step(JOB, "d0", 1, "picked_up")


def job_expires_during_a_round(mallard: Mallard) -> None:
    two_offers_are_live(mallard)
    mallard.time_to(mallard.model.jobs[JOB].expires)
    mallard.expire(JOB)


def _round(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story)


_END = "if offer.staggered then rounds().finish(run[1], arg.offer, 'withdrawn', 'taken') end\n"

_FINISH = "  if offer.staggered then rounds().finish(job, id, outcome, why) end\n"

PLANTED_IN_ROUNDS = (
    Planted(
        "round has two winners",
        "accept",
        (
            (_END, "if offer.staggered then rounds().drop(run[1]) end\n"),
            ("not is_out(id, offer, job) or job.state ~= 'offered'\n      or ", ""),
        ),
        both_accept,
    ),
    _round("losers of a round get no push", "accept", _END, "", both_accept),
    _round(
        "loser of a round is not freed",
        "accept",
        "    rec.offer = nil\n",
        "",
        loser_gets_the_next_job,
    ),
    _round(
        "loser of a round is excluded",
        "accept",
        "finish(run[1], arg.offer, 'withdrawn', ",
        "finish(run[1], arg.offer, 'declined', ",
        both_accept,
    ),
    _round(
        "decline of one offer requeues the job",
        "decline",
        "if not goes_on then",
        "if true then",
        first_driver_declines,
    ),
    _round(
        "expiry of one offer requeues the job",
        "lapse",
        "if not goes_on then",
        "if true then",
        first_offer_expires,
    ),
    _round(
        "only the first offer of a round expires",
        "lapse",
        "    or (offer.staggered and job.state == 'offered' and job.attempt == offer.attempt)\n",
        "",
        second_offer_expires,
    ),
    _round(
        "withdrawal of one offer ends the round",
        "withdraw",
        "if offer.staggered then\n  take_back",
        "if offer.staggered and offer.attempt == 0 then\n  take_back",
        one_offer_is_withdrawn,
    ),
    _round(
        "job keeps a closed offer as its first",
        "decline",
        "    job.offer = round.live[1]\n",
        "",
        first_driver_declines,
    ),
    _round(
        "due entry of a declined offer stays",
        "decline",
        "    round_of.falls_due_no_more(round_of.offer_member(job, id))\n    save",
        "    save",
        first_driver_declines,
    ),
    _round(
        "attempt increases within a round",
        "offer_more",
        "local id = table.remove(round.ids)\n",
        "local id = table.remove(round.ids)\n      job.attempt = job.attempt + 1\n",
        both_accept,
    ),
    Planted(
        "round asks more drivers than its rung",
        "offer_more",
        (
            ("round.asked >= round.most or #round.rest == 0", "#round.rest == 0"),
            ("local is_over = round.asked >= round.most or now", "local is_over = now"),
            (
                "local id = table.remove(round.ids)\n",
                "local id = table.remove(round.ids) or 'o99'\n",
            ),
        ),
        round_continues_beyond_its_limit,
    ),
    _round(
        "next driver is asked too early",
        "offer_more",
        "now < round.next_ms",
        "false",
        next_offer_is_early,
    ),
    _round(
        "next driver is never asked",
        "offer",
        "  if #plans > 0 then falls_due('more/' .. job.mall .. '/' .. job.id, next_ms) end\n",
        "",
        both_accept,
    ),
    _round(
        "ended round leaves its record",
        "decline",
        "    redis.call('HDEL', job.key, 'round')\n",
        "",
        all_decline,
    ),
    _round(
        "cancelled job keeps live offers",
        "cancel",
        _FINISH,
        "",
        job_is_cancelled,
    ),
    _round(
        "expired job keeps live offers",
        "expire",
        _FINISH,
        "",
        job_expires_during_a_round,
    ),
    _round(
        "custody keeps live offers",
        "progress",
        _FINISH,
        "",
        custody_ends_the_round,
    ),
    _round(
        "driver with an offer of the job cannot be assigned",
        "assign",
        "offer and not (offer.staggered and offer.jobs[1].job == job.id)",
        "offer",
        job_is_assigned_to_an_offered_driver,
    ),
)
