"""Tests of the test machine: each bug planted in a script fails a short story.

A story calls rules of the machine in order, as a failing example prints them. It must pass with the
package's scripts and fail with the planted bug.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import pytest

from mallard_engine.core.model import Submission
from mallard_engine.ports import Submitted
from mallard_engine.storage.calls.jobs import RedisJobs
from mallard_engine.storage.scripts import Script
from tests.properties.machine import StoreMachine
from tests.properties.mallard import Mallard
from tests.properties.planted.drivers.claims import PLANTED_IN_CLAIMS
from tests.properties.planted.drivers.patience import PLANTED_IN_PATIENCE
from tests.properties.planted.drivers.reassignments import PLANTED_IN_REASSIGNMENTS
from tests.properties.planted.drivers.registers import PLANTED_IN_REGISTERS
from tests.properties.planted.drivers.take_backs import PLANTED_IN_TAKE_BACKS
from tests.properties.planted.jobs.changes import PLANTED_IN_CHANGES
from tests.properties.planted.jobs.events import PLANTED_IN_EVENTS
from tests.properties.planted.jobs.packing import PLANTED_IN_PACKING
from tests.properties.planted.jobs.risks import PLANTED_IN_RISKS
from tests.properties.planted.jobs.rounds import PLANTED_IN_ROUNDS
from tests.properties.planted.jobs.runs import PLANTED_IN_RUNS
from tests.properties.planted.operation.counters import PLANTED_IN_COUNTERS
from tests.properties.planted.operation.hours import PLANTED_IN_HOURS
from tests.properties.planted.operation.letters import PLANTED_IN_LETTERS
from tests.properties.planted.operation.pauses import PLANTED_IN_PAUSES
from tests.properties.planted.operation.proofs import PLANTED_IN_PROOFS
from tests.properties.planted.operation.repairs import PLANTED_IN_REPAIRS
from tests.properties.planted.operation.returns import PLANTED_IN_RETURNS
from tests.properties.planted.operation.shops import PLANTED_IN_SHOPS
from tests.properties.planted.operation.transfers import PLANTED_IN_TRANSFERS
from tests.properties.planted.planting import Planted
from tests.properties.rules.drivers.clock import TimeRules
from tests.properties.rules.drivers.comeback import ComebackRules
from tests.properties.rules.drivers.driver import DriverRules
from tests.properties.rules.drivers.holder import HolderRules
from tests.properties.rules.drivers.patience import PatienceRules
from tests.properties.rules.drivers.reassignment import ReassignmentRules
from tests.properties.rules.drivers.register import RegisterRules
from tests.properties.rules.drivers.stuck import StuckRules
from tests.properties.rules.jobs.change import ChangeRules
from tests.properties.rules.jobs.job import JobRules, Order
from tests.properties.rules.jobs.packing import PackingRules
from tests.properties.rules.jobs.risk import RiskRules
from tests.properties.rules.jobs.run import RunRules
from tests.properties.rules.jobs.stagger import StaggerRules
from tests.properties.rules.operation.counter import CounterRules
from tests.properties.rules.operation.door import DoorRules
from tests.properties.rules.operation.hours import HoursRules
from tests.properties.rules.operation.letter import LetterRules
from tests.properties.rules.operation.pause import PauseRules
from tests.properties.rules.operation.proof import ProofRules
from tests.properties.rules.operation.shop import ShopRules
from tests.properties.rules.operation.transfer import TransferRules
from tests.properties.world import MALLS

pytestmark = pytest.mark.timeout(20)


@contextmanager
def running_machine(
    url: str, scripts: Mapping[str, Script] | None = None, max_run_jobs: int = 1
) -> Iterator[Mallard]:
    mallard = Mallard(url, scripts, max_run_jobs=max_run_jobs)
    with closing(mallard.world):
        yield mallard


# -- stories


def offer_is_made(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])


def closed_offer_is_accepted(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.accept("o0", "d0")


def old_offer_is_accepted_while_the_next_is_live(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.decline("o0", "d0")
    mallard.round(MALLS[0])
    mallard.accept("o0", "d0", "n2")


def offer_is_accepted_at_its_expiry(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.time_to(mallard.model.offers["o0"].expires)
    mallard.accept("o0", "d0")


def offer_is_declined_at_its_expiry(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.time_to(mallard.model.offers["o0"].expires)
    mallard.decline("o0", "d0")


def offer_is_swept_at_its_expiry(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.offer_ack("o0", "d0")
    mallard.time_to(mallard.model.offers["o0"].expires)
    mallard.sweep()


def driver_comes_while_a_job_waits(mallard: Mallard) -> None:
    mallard.node_beats("n1")
    mallard.submit(Order())
    mallard.comes_to_work("d0", "n1")


def offer_expires(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.round(MALLS[0])  # the first offer of a story has no history cell
    mallard.offer_ack("o1", "d0")
    mallard.time_to(mallard.model.offers["o1"].expires)
    mallard.sweep()


def holder_returns_before_the_reassignment(mallard: Mallard) -> None:
    _late_job(mallard, returns=True)


def late_job_is_reassigned(mallard: Mallard) -> None:
    _late_job(mallard, returns=False)
    mallard.accept("o1", "d1")


def _late_job(mallard: Mallard, *, returns: bool) -> None:
    """A holder falls silent on its way, and another driver is free at the limit."""
    mallard.a_day_begins([(Order(), 2)])
    lost_ms = mallard.now
    mallard.disconnect("d0", 0)
    mallard.time_to(lost_ms + mallard.model.resume_ms)
    if returns:
        mallard.hello("d0")
    mallard.report_all()
    mallard.hand_over(mallard.job_at(0), 1, ["d0", "d1", "d2", "d3"], lost=lost_ms)


def sweeper_dies_with_its_entries(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.time_passes(1_000)
    mallard.sweep(dies=True)


def outdated_plan_is_offered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.offer(mallard.job_at(0), 0, ["d3", "d2", "d1", "d0"])


def old_socket_closes_late(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.hello("d0")
    mallard.disconnect("d0", late=1)


def reply_to_a_submission_is_lost(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.submit(Order(), "reply lost")


def pickup_without_an_arrival(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.accept("o0", "d0")
    mallard.time_passes(60_000)
    mallard.step(mallard.job_at(0), "d0", 1, "picked_up")


def driver_waits_for_the_parcel(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.accept("o0", "d0")
    mallard.ready(mallard.job_at(0), 60_000)
    mallard.step(mallard.job_at(0), "d0", 1, "at_mall")
    mallard.time_passes(60_000)
    mallard.step(mallard.job_at(0), "d0", 1, "picked_up")


def parcels_of_two_shops_are_collected(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 3)])
    mallard.time_passes(60_000)
    mallard.collect("job_phoenix.j000", "d0", 1, "lego", None)


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

# The script that ends an offer also writes the job, so each half of the fence covers the other: the
# bug removes both.
_FENCE = (
    ("if offer.state ~= 'live' or now >= ", "if now >= "),
    ("if not is_current(offer, run, arg.offer) then", "if false then"),
)
_AT_EXPIRY = (("now >= offer.expires_ms", "now > offer.expires_ms"),)

PLANTED = (
    Planted(
        "freed driver is said to have nothing to do",
        "status",
        (("redis.call('HLEN', K.waiting) == 0", "true"),),
        driver_comes_while_a_job_waits,
    ),
    Planted("accept is not fenced", "accept", _FENCE, closed_offer_is_accepted),
    Planted(
        "accept is not fenced against the next offer",
        "accept",
        _FENCE,
        old_offer_is_accepted_while_the_next_is_live,
    ),
    Planted(
        "accept at the expiry succeeds",
        "accept",
        _AT_EXPIRY,
        offer_is_accepted_at_its_expiry,
    ),
    Planted(
        "decline at the expiry succeeds",
        "decline",
        _AT_EXPIRY,
        offer_is_declined_at_its_expiry,
    ),
    Planted(
        "lapse at the expiry does nothing",
        "lapse",
        _AT_EXPIRY,
        offer_is_swept_at_its_expiry,
    ),
    Planted(
        "expired offer is not counted",
        "lapse",
        (("    note_refusal(rec, offer, true)\n", ""),),
        offer_expires,
    ),
    Planted(
        "job is reassigned from a returned driver",
        "hand_over",
        (("not holder.connected and holder.lost_ms == arg.lost_ms\n  and now", "now"),),
        holder_returns_before_the_reassignment,
    ),
    Planted(
        "reassigned job stays with its holder",
        "hand_over",
        (("    revoke(job, outcome, 'engine', is_silent and 'silent' or 'late')\n", ""),),
        late_job_is_reassigned,
    ),
    Planted(
        "offered driver stays in idle",
        "offer",
        (
            (
                "  save_driver(plan[1], rec)\n  return ack_by",
                "  redis.call('HSET', K.drivers, plan[1], cmsgpack.pack(rec))\n  return ack_by",
            ),
        ),
        offer_is_made,
    ),
    Planted(
        "offer of an old attempt is made",
        "offer",
        ((" or job.attempt ~= attempt", ""),),
        outdated_plan_is_offered,
    ),
    Planted(
        "due entry is removed before its transition",
        "due",
        (
            (
                "redis.call('ZADD', KEYS[1], now + arg.again_ms, entries[i])",
                "redis.call('ZREM', KEYS[1], entries[i])",
            ),
        ),
        sweeper_dies_with_its_entries,
    ),
    Planted(
        "disconnect ignores the epoch",
        "disconnect",
        (("(epoch == 0 or rec.epoch == epoch)", "true"),),
        old_socket_closes_late,
    ),
    Planted(
        "arrival reported with the pickup counts as a stay",
        "progress",
        (("  elseif policy.learns_dwell and", "  end\n  if policy.learns_dwell and"),),
        pickup_without_an_arrival,
    ),
    Planted(
        "wait for the parcel counts as a stay",
        "progress",
        ((" or need.ready_ms > came", ""),),
        driver_waits_for_the_parcel,
    ),
    Planted(
        "wait at two shops counts as a stay at the first",
        "progress",
        (("#need.stores ~= 1 or ", ""),),
        parcels_of_two_shops_are_collected,
    ),
    Planted(
        "each stay resets the sketch",
        "progress",
        (("if not packed or #packed ~= BUCKETS + 1 then", "if true then"),),
        two_stays,
    ),
)


# The bugs of each subject, and the rules that are likely to meet them.
BUGS: tuple[tuple[tuple[Planted, ...], tuple[type[StoreMachine], ...]], ...] = (
    (PLANTED, (JobRules, HolderRules, TimeRules)),
    (PLANTED_IN_RUNS, (RunRules,)),
    (PLANTED_IN_ROUNDS, (StaggerRules,)),
    (PLANTED_IN_REASSIGNMENTS, (ReassignmentRules, StuckRules)),
    (PLANTED_IN_TAKE_BACKS, (ComebackRules, TimeRules)),
    (PLANTED_IN_TRANSFERS, (TransferRules,)),
    (PLANTED_IN_CLAIMS, (ComebackRules, HolderRules)),
    (PLANTED_IN_COUNTERS, (CounterRules, HolderRules)),
    (PLANTED_IN_SHOPS, (ShopRules,)),
    (PLANTED_IN_HOURS, (HoursRules, ShopRules)),
    (PLANTED_IN_PROOFS, (ProofRules,)),
    (PLANTED_IN_RETURNS, (DoorRules,)),
    (PLANTED_IN_PATIENCE, (PatienceRules, TimeRules)),
    (PLANTED_IN_REGISTERS, (RegisterRules, DriverRules)),
    (PLANTED_IN_CHANGES, (ChangeRules, ShopRules, DoorRules)),
    (PLANTED_IN_RISKS, (RiskRules, ShopRules, HolderRules)),
    (PLANTED_IN_LETTERS, (LetterRules, JobRules, TimeRules)),
    (PLANTED_IN_PACKING, (PackingRules, HolderRules, JobRules)),
    (PLANTED_IN_PAUSES, (PauseRules, JobRules, StaggerRules, ReassignmentRules)),
    (PLANTED_IN_EVENTS, (JobRules, HolderRules, DoorRules)),
)
EVERY_BUG = [*(planted for bugs, _ in BUGS for planted in bugs), *PLANTED_IN_REPAIRS]


@pytest.mark.parametrize("planted", EVERY_BUG, ids=lambda planted: planted.name)
def test_planted_bug_fails_its_story(redis_url: str, planted: Planted) -> None:
    most = planted.max_run_jobs
    with running_machine(redis_url, None, most) as mallard:
        planted.story(mallard)
    with (
        running_machine(redis_url, planted.scripts(), most) as mallard,
        pytest.raises(AssertionError),
    ):
        planted.story(mallard)


_KEY_LINE = "redis.call('SET', KEY, arg.hash .. ' ' .. arg.job, 'PX', policy.idempotency_kept_ms)\n"


def test_idempotency_key_in_a_separate_script_is_detected(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the node dies between the two scripts, a repeated submission finds the job without its
    key."""
    split = Planted("", "submit", ((_KEY_LINE, ""),), reply_to_a_submission_is_lost)
    submit_without_key = RedisJobs.submit

    async def submit_in_two_steps(jobs: RedisJobs, order: Submission) -> Submitted:
        submitted = await submit_without_key(jobs, order)
        digest = hashlib.sha256(order.key.encode()).hexdigest()
        key = jobs._runner.keys[order.market].idempotency(order.service, digest)
        await jobs._runner.link.call("SET", key, f"{order.body_hash} {order.job}", "NX")
        return submitted

    with running_machine(redis_url) as mallard:
        split.story(mallard)
    monkeypatch.setattr(RedisJobs, "submit", submit_in_two_steps)
    with running_machine(redis_url, split.scripts()) as mallard:
        mallard.submit(Order())
        mallard.submit_again("key-0")
    with (
        running_machine(redis_url, split.scripts()) as mallard,
        pytest.raises(AssertionError, match=r"S1[23]"),
    ):
        split.story(mallard)
