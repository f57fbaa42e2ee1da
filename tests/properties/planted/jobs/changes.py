"""Bugs in changes of orders, each with the story that finds it. See `test_planted_bugs.py`."""

from mallard_protocol.lifecycle import ShopState
from tests.properties.mallard import Mallard
from tests.properties.models.changes import Change
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"
QUEUED, OFFERED, ASSIGNED, AT_MALL, ON_BOARD = range(5)


def _begins(mallard: Mallard, hops: int, order: Order | None = None) -> None:
    mallard.a_day_begins([(order or Order(), hops)])


def outdated_order_is_changed(mallard: Mallard) -> None:
    _begins(mallard, QUEUED)
    mallard.change(JOB, Change(stale=True))


def change_comes_too_late(mallard: Mallard) -> None:
    _begins(mallard, ON_BOARD)
    mallard.change(JOB, Change(until="assigned"))


def offered_order_changes(mallard: Mallard) -> None:
    _begins(mallard, OFFERED)
    mallard.change(JOB, Change())


def queued_order_becomes_urgent(mallard: Mallard) -> None:
    _begins(mallard, QUEUED)
    mallard.change(JOB, Change(priority=2))


def old_plan_is_offered_after_a_change(mallard: Mallard) -> None:
    _begins(mallard, QUEUED)
    mallard.change(JOB, Change(moved=True))
    mallard.offer(JOB, 0, ["d0"])


def drop_off_of_a_held_job_moves(mallard: Mallard) -> None:
    _begins(mallard, ASSIGNED)
    mallard.change(JOB, Change(moved=True))


def change_is_repeated(mallard: Mallard) -> None:
    _begins(mallard, QUEUED)
    mallard.change(JOB, Change(), how="twice")


def pay_is_lowered(mallard: Mallard) -> None:
    _begins(mallard, QUEUED, Order(pay=(900, 0)))
    mallard.change(JOB, Change(pay=-1))


def order_of_a_collected_shop_changes(mallard: Mallard) -> None:
    _begins(mallard, AT_MALL, Order(stores=("lego", "gap")))
    mallard.collect(JOB, "d0", 1, "lego", None)
    mallard.change(JOB, Change(store="lego"))


def _is_held(mallard: Mallard) -> None:
    _begins(mallard, QUEUED)
    mallard.shop_says(JOB, "lego", ShopState.MISSING)


def held_order_ends_sooner(mallard: Mallard) -> None:
    _is_held(mallard)
    mallard.change(JOB, Change(lasts_ms=20_000))


def held_order_fails_instead(mallard: Mallard) -> None:
    _is_held(mallard)
    mallard.change(JOB, Change(on_missing="fail"))


def hold_becomes_longer(mallard: Mallard) -> None:
    _begins(mallard, QUEUED, Order(hold_s=60))
    mallard.shop_says(JOB, "lego", ShopState.MISSING)
    mallard.time_passes(10_000, reports=False)
    mallard.change(JOB, Change(hold_s=120))


def address_of_a_refused_parcel_changes(mallard: Mallard) -> None:
    _begins(mallard, ON_BOARD)
    mallard.undelivered(JOB, "d0", 1, "refused")
    mallard.change(JOB, Change(moved=True))


def cancelled_order_moves(mallard: Mallard) -> None:
    _begins(mallard, ON_BOARD)
    mallard.undelivered(JOB, "d0", 1, "refused")
    mallard.cancel(JOB)
    mallard.change(JOB, Change(moved=True))


def deadline_of_a_kept_parcel_comes_sooner(mallard: Mallard) -> None:
    _begins(mallard, ON_BOARD, Order(undeliverable="hold"))
    mallard.undelivered(JOB, "d0", 1, "refused")
    mallard.change(JOB, Change(lasts_ms=20_000))


def _planted(name: str, old: str, new: str, story: Story, *, max_run_jobs: int = 1) -> Planted:
    return Planted(name, "change", ((old, new),), story, max_run_jobs)


PLANTED_IN_CHANGES = (
    _planted(
        "change overwrites a newer order",
        "if stored[1] ~= ARGV[4]\n",
        "if false\n",
        outdated_order_is_changed,
    ),
    _planted(
        "change comes after its last moment",
        "if is_too_late(job) then return reply('late') end\n",
        "",
        change_comes_too_late,
    ),
    _planted(
        "changed job keeps its old offer",
        "if job.state == 'offered' then close_offer(job, run, 'withdrawn', 'withdrawn') end\n",
        "",
        offered_order_changes,
    ),
    _planted(
        "changed job keeps its old place in the queue",
        "if job.state == 'queued' then\n  wait_no_more(job)\n",
        "if job.state == 'queued' then\n",
        queued_order_becomes_urgent,
    ),
    _planted(
        "plan of the old order is offered",
        "  if arg.is_ranked then\n",
        "  if false then\n",
        old_plan_is_offered_after_a_change,
    ),
    _planted(
        "record of the holder keeps the old drop-off",
        "    held.lat, held.lon, held.deadline_ms = arg.lat, arg.lon, arg.deadline_ms\n",
        "",
        drop_off_of_a_held_job_moves,
        max_run_jobs=3,
    ),
    _planted(
        "repeated change is refused",
        "if stored[1] == ARGV[5] then return reply('ok') end -- a repeat\n",
        "",
        change_is_repeated,
    ),
    _planted(
        "change lowers the pay",
        "return arg.pay_minor ~= nil and arg.pay_minor < pay_minor",
        "return false",
        pay_is_lowered,
    ),
    _planted(
        "change concerns a collected shop",
        "if not shop or not may_come or shop.collected > 0 then return true end",
        "if not shop or not may_come then return true end",
        order_of_a_collected_shop_changes,
    ),
    _planted(
        "hold outlasts the changed order",
        "math.max(math.min(held.until_ms, job.expires_ms), now)",
        "held.until_ms",
        held_order_ends_sooner,
    ),
    _planted(
        "changed rule does not end the hold",
        "if arg.rules then apply_new_rules(job) end\n",
        "",
        held_order_fails_instead,
    ),
    _planted(
        "new hold counts from its change",
        "local held, began = job.held, job.timeline[#job.timeline][2]",
        "local held, began = job.held, now",
        hold_becomes_longer,
    ),
    _planted(
        "corrected address turns nothing round",
        "  if job.state == 'returning' then turn_round(job, rec, arg.actor) end\n",
        "",
        address_of_a_refused_parcel_changes,
    ),
    _planted(
        "corrected address turns a cancelled job round",
        "if not arg.is_moved or is_cancel_requested(job) then return end",
        "if not arg.is_moved then return end",
        cancelled_order_moves,
    ),
    _planted(
        "kept parcel outlasts the new deadline",
        "    door.at = math.min(door.at, math.max(job.deadline_ms, now))\n",
        "",
        deadline_of_a_kept_parcel_comes_sooner,
    ),
)
