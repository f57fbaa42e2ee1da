"""The guards are guarded: each bug planted in the scripts turns a short story of the machine red.

A story calls the rules one after the other, as a failing example of the machine prints them. Told
with the package's scripts it ends well; with the planted bug it must not.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import pytest

from mallard_engine.core.model import Submission
from mallard_engine.ports import Submitted
from mallard_engine.storage.calls.jobs import RedisJobs
from mallard_engine.storage.scripts import Script
from tests.properties.job_rules import Order
from tests.properties.mallard import Mallard
from tests.properties.planted_in_claims import PLANTED_IN_CLAIMS
from tests.properties.planted_in_reassignments import PLANTED_IN_REASSIGNMENTS
from tests.properties.planted_in_rounds import PLANTED_IN_ROUNDS
from tests.properties.planted_in_runs import PLANTED_IN_RUNS
from tests.properties.planted_in_take_backs import PLANTED_IN_TAKE_BACKS
from tests.properties.planting import Planted
from tests.properties.world import MALLS

pytestmark = pytest.mark.timeout(20)


@contextmanager
def a_day(
    url: str, scripts: Mapping[str, Script] | None = None, max_run_jobs: int = 1
) -> Iterator[Mallard]:
    mallard = Mallard(url, scripts, max_run_jobs=max_run_jobs)
    with closing(mallard.world):
        yield mallard


# -- stories


def a_plan_finds_its_driver(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])


def a_closed_offer_is_accepted(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.accept("o0", "d0")


def an_old_offer_is_accepted_while_the_next_is_out(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.decline("o0", "d0")
    mallard.round(MALLS[0])
    mallard.accept("o0", "d0", "n2")


def accepted_in_the_millisecond_of_its_expiry(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.time_to(mallard.model.offers["o0"].expires)
    mallard.accept("o0", "d0")


def declined_in_the_millisecond_of_its_expiry(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.time_to(mallard.model.offers["o0"].expires)
    mallard.decline("o0", "d0")


def lapses_in_the_millisecond_of_its_expiry(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.offer_ack("o0", "d0")
    mallard.time_to(mallard.model.offers["o0"].expires)
    mallard.sweep()


def an_offer_lapses(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.round(MALLS[0])  # the first offer of a story is made where no history is kept
    mallard.offer_ack("o1", "d0")
    mallard.time_to(mallard.model.offers["o1"].expires)
    mallard.sweep()


def a_holder_is_back_before_its_job_is_handed_over(mallard: Mallard) -> None:
    _a_late_run(mallard, comes_back=True)


def a_late_run_is_handed_over_and_its_former_holder_accepts(mallard: Mallard) -> None:
    _a_late_run(mallard, comes_back=False)
    mallard.accept("o1", "d1")


def _a_late_run(mallard: Mallard, *, comes_back: bool) -> None:
    """One is on its way and falls silent; another is free at the limit."""
    mallard.a_day_begins([(Order(), 2)])
    lost_ms = mallard.now
    mallard.disconnect("d0", 0)
    mallard.time_to(lost_ms + mallard.model.resume_ms)
    if comes_back:
        mallard.hello("d0")
    mallard.everybody_reports()
    mallard.hand_over(mallard.job_at(0), 1, ["d0", "d1", "d2", "d3"], lost=lost_ms)


def a_sweeper_dies_with_what_it_took(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.time_passes(1_000)
    mallard.sweep(dies=True)


def a_plan_of_an_old_attempt_comes_late(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.offer(mallard.job_at(0), 0, ["d3", "d2", "d1", "d0"])


def an_old_socket_closes_late(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.hello("d0")
    mallard.disconnect("d0", late=1)


def a_driver_who_declined_is_planned_again(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.whoever_was_asked_is_free_again(0, first_decline=True, how="once")


def the_reply_to_a_submission_is_lost(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.submit(Order(), "reply lost")


def an_arrival_that_the_pickup_tells(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.accept("o0", "d0")
    mallard.time_passes(60_000)
    mallard.step(mallard.job_at(0), "d0", 1, "picked_up")


def a_parcel_that_is_waited_for(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.accept("o0", "d0")
    mallard.ready(mallard.job_at(0), 60_000)
    mallard.step(mallard.job_at(0), "d0", 1, "at_mall")
    mallard.time_passes(60_000)
    mallard.step(mallard.job_at(0), "d0", 1, "picked_up")


def two_stays(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    for number, job in enumerate(("job_phoenix.j000", "job_phoenix.j001")):
        mallard.assign(job, f"d{number}")
        mallard.arrive(job, f"d{number}", 1)
        mallard.time_passes(45_000 + 90_000 * number)
        mallard.step(job, f"d{number}", 1, "picked_up", how="reply lost")
    (stays,) = mallard.model.dwells.values()
    assert stays.seen == 2


# -- bugs

# The script that ends an offer writes the job as well, so one half of the fence stands in for the
# other: what is planted is that both are gone.
_FENCE = (
    ("if offer.state ~= 'live' or now >= ", "if now >= "),
    ("if not is_current(offer, run, arg.offer) then", "if false then"),
)
_AT_EXPIRY = (("now >= offer.expires_ms", "now > offer.expires_ms"),)

PLANTED = (
    Planted("no fence in accept", "accept", _FENCE, a_closed_offer_is_accepted),
    Planted(
        "no fence in accept, next offer out",
        "accept",
        _FENCE,
        an_old_offer_is_accepted_while_the_next_is_out,
    ),
    Planted("> for >= in accept", "accept", _AT_EXPIRY, accepted_in_the_millisecond_of_its_expiry),
    Planted(
        "> for >= in decline", "decline", _AT_EXPIRY, declined_in_the_millisecond_of_its_expiry
    ),
    Planted("> for >= in lapse", "lapse", _AT_EXPIRY, lapses_in_the_millisecond_of_its_expiry),
    Planted(
        "a lapse is not counted",
        "lapse",
        (("    note_refusal(rec, offer, true)\n", ""),),
        an_offer_lapses,
    ),
    Planted(
        "a reassignment from a driver who is back",
        "hand_over",
        (("not holder.connected and holder.lost_ms == arg.lost_ms\n  and now", "now"),),
        a_holder_is_back_before_its_job_is_handed_over,
    ),
    Planted(
        "a reassignment that leaves the job with its holder",
        "hand_over",
        (("    revoke(job, outcome, 'engine', is_silent and 'silent' or 'late')\n", ""),),
        a_late_run_is_handed_over_and_its_former_holder_accepts,
    ),
    Planted(
        "idle not cleaned on offer",
        "offer",
        (
            (
                "  save_driver(plan[1], rec)\n  return ack_by",
                "  redis.call('HSET', K.drivers, plan[1], cmsgpack.pack(rec))\n  return ack_by",
            ),
        ),
        a_plan_finds_its_driver,
    ),
    Planted(
        "attempt not fenced in offer",
        "offer",
        ((" or job.attempt ~= attempt", ""),),
        a_plan_of_an_old_attempt_comes_late,
    ),
    Planted(
        "who declined is not barred",
        "offer",
        (("declined = true, ", ""),),
        a_driver_who_declined_is_planned_again,
    ),
    Planted(
        "due entry popped before its transition",
        "due",
        (
            (
                "redis.call('ZADD', KEYS[1], now + arg.again_ms, entries[i])",
                "redis.call('ZREM', KEYS[1], entries[i])",
            ),
        ),
        a_sweeper_dies_with_what_it_took,
    ),
    Planted(
        "epoch not fenced in disconnect",
        "disconnect",
        (("(epoch == 0 or rec.epoch == epoch)", "true"),),
        an_old_socket_closes_late,
    ),
    Planted(
        "an arrival that is reported with the pickup counts as a stay",
        "progress",
        (("  elseif policy.learns_dwell and", "  end\n  if policy.learns_dwell and"),),
        an_arrival_that_the_pickup_tells,
    ),
    Planted(
        "a wait for the parcel counts as a stay",
        "progress",
        ((" or need.ready_ms > came", ""),),
        a_parcel_that_is_waited_for,
    ),
    Planted(
        "each stay starts anew",
        "progress",
        (("if not packed or #packed ~= BUCKETS + 1 then", "if true then"),),
        two_stays,
    ),
)


@pytest.mark.parametrize(
    "planted",
    [
        *PLANTED,
        *PLANTED_IN_RUNS,
        *PLANTED_IN_ROUNDS,
        *PLANTED_IN_REASSIGNMENTS,
        *PLANTED_IN_TAKE_BACKS,
        *PLANTED_IN_CLAIMS,
    ],
    ids=lambda planted: planted.name,
)
def test_planted_bug_fails_its_story(redis_url: str, planted: Planted) -> None:
    most = planted.max_run_jobs
    with a_day(redis_url, None, most) as mallard:
        planted.story(mallard)
    with a_day(redis_url, planted.scripts(), most) as mallard, pytest.raises(AssertionError):
        planted.story(mallard)


_KEY_LINE = "redis.call('SET', KEY, arg.hash .. ' ' .. arg.job, 'PX', policy.idempotency_kept_ms)\n"


def test_idempotency_key_in_a_separate_script_is_detected(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On good days the two steps look like one; when the node dies between them, a repeat finds the
    job without its key."""
    split = Planted("", "submit", ((_KEY_LINE, ""),), the_reply_to_a_submission_is_lost)
    submit_without_key = RedisJobs.submit

    async def submit_in_two_steps(jobs: RedisJobs, order: Submission) -> Submitted:
        submitted = await submit_without_key(jobs, order)
        digest = hashlib.sha256(order.key.encode()).hexdigest()
        key = jobs._runner.keys[order.market].idempotency(order.service, digest)
        await jobs._runner.link.call("SET", key, f"{order.body_hash} {order.job}", "NX")
        return submitted

    with a_day(redis_url) as mallard:
        split.story(mallard)
    monkeypatch.setattr(RedisJobs, "submit", submit_in_two_steps)
    with a_day(redis_url, split.scripts()) as mallard:
        mallard.submit(Order())
        mallard.submit_again("key-0")
    with (
        a_day(redis_url, split.scripts()) as mallard,
        pytest.raises(AssertionError, match=r"S1[23]"),
    ):
        split.story(mallard)
