"""Bad days of a small mall on the real scripts: each event alone, and all of them together."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mallard_engine.core.places.markets import Places
from mallard_engine.dispatch.step_commands import ProblemReport, StepCommands, StepReport
from mallard_engine.ports import Answered, JobRef
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import MINUTE_MS, Day, Scenario
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.storage.audit.audit import audit
from mallard_engine.workload.bad_day.events import DOOR_PROBLEMS, BadDay, BadEvent
from mallard_engine.workload.bad_day.ledger import Accounts
from mallard_engine.workload.demand import Demand
from mallard_protocol.lifecycle import Step

pytestmark = pytest.mark.slow

PLACES = Places.load(opening_hours=False)
MALL = "chandler-fashion-center"
PARCELS = 16


def scenario(bad_day: BadDay | None, *, drivers: int = 10, **changes: Any) -> Scenario:
    policy = replace(mallday.bad_day_policy(), max_run_jobs=6, **changes)
    return mallday.scenario_of(
        PLACES,
        Demand(PLACES, []),
        policy,
        mall=MALL,
        parcels=PARCELS,
        drivers=drivers,
        seed=1,
        bad_day=bad_day,
    )


def accounted(of: Scenario, redis_url: str) -> tuple[Day, Accounts]:
    """Simulate a day on which every parcel must be accounted for."""
    day = simulate(of, redis_url)
    assert day.accounts is not None
    assert day.accounts.wrongs == ()
    assert day.accounts.in_vain == ()
    assert sum(day.accounts.rows.values()) == PARCELS
    malls = tuple(PLACES.market(of.market).malls.values())
    found = asyncio.run(
        audit(
            redis_url,
            {of.market: of.policy},
            settle_s=0.0,
            now_ms=lambda: of.end_ms,
            malls={of.market: malls},
        )
    )
    assert found.breaches == ()
    return day, day.accounts


def states(accounts: Accounts) -> set[str]:
    return {state for _, state, _, _ in accounts.rows}


@pytest.mark.parametrize("event", BadEvent)
def test_parcels_are_accounted_for_whatever_happens(redis_url: str, event: BadEvent) -> None:
    share = 0.5 if event in {BadEvent.QUITS, BadEvent.BREAKDOWN} else 1.0
    _, accounts = accounted(scenario(BadDay(1, {event: share})), redis_url)
    assert accounts.happened.get(event, 0) > 0
    if event in DOOR_PROBLEMS:
        assert "returned" in states(accounts)
    if event is BadEvent.MISSING:
        assert {"failed", "delivered"} <= states(accounts)


def test_refused_parcels_are_all_brought_back(redis_url: str) -> None:
    _, accounts = accounted(scenario(BadDay(1, {BadEvent.REFUSED: 1.0})), redis_url)
    assert {state for _, state, _, _ in accounts.rows} <= {"returned", "expired"}


def test_parcels_of_a_broken_car_go_to_another_driver(redis_url: str) -> None:
    day, _ = accounted(scenario(BadDay(1, {BadEvent.BREAKDOWN: 0.5}), drivers=16), redis_url)
    assert any(event.get("cause") == "transferred" for event in day.events)


def test_day_with_all_events_accounts_for_every_parcel(redis_url: str) -> None:
    shares = dict.fromkeys(BadEvent, 0.1)
    _, accounts = accounted(scenario(BadDay(4, shares)), redis_url)
    assert len(accounts.happened) > 5


def test_planted_search_for_absent_parcels_is_found(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of missing parcels that only gives the job up sends the next driver."""
    problem = StepCommands.problem

    async def gives_up(self: Any, market: str, report: ProblemReport) -> Answered:
        if report.kind != "missing" or report.attempt is None:
            return await problem(self, market, report)
        step = StepReport(
            JobRef(report.job, report.mall), report.driver, report.attempt, Step.GIVE_UP
        )
        done: Answered = await self.progress(step)
        return done

    monkeypatch.setattr(StepCommands, "problem", gives_up)
    day = simulate(scenario(BadDay(1, {BadEvent.MISSING: 1.0})), redis_url)
    assert day.accounts is not None
    assert day.accounts.in_vain


def test_planted_loss_of_a_return_is_found(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = StepCommands.progress

    async def forgets_returns(self: Any, report: StepReport) -> Answered:
        if report.step is not Step.RETURNED:
            return await progress(self, report)
        kept: Answered = await self._context.storage.drivers.alive("phoenix", report.driver)
        return kept

    monkeypatch.setattr(StepCommands, "progress", forgets_returns)
    day = simulate(scenario(BadDay(1, {BadEvent.REFUSED: 1.0})), redis_url)
    assert day.accounts is not None
    assert any("brought back" in wrong for wrong in day.accounts.wrongs)


def test_orders_that_nobody_could_bring_in_time_are_counted(redis_url: str) -> None:
    """A late order that a driver at the counter could have brought is not among them."""
    of = scenario(BadDay(1, {BadEvent.EVACUATED: 1.0}), drivers=10)
    first, *others = of.orders
    hopeless = replace(first, best_by_ms=first.ready_ms + 1)
    tight = replace(others[0], best_by_ms=others[0].ready_ms + 30 * MINUTE_MS)
    _, accounts = accounted(replace(of, orders=(hopeless, tight, *others[1:])), redis_url)
    assert accounts.impossible == 1
    assert accounts.on_time < accounts.deliverable - 1


def test_storm_comes_within_ten_minutes() -> None:
    calm, storm = (scenario(day).orders for day in (None, BadDay(1, {BadEvent.STORM: 1.0})))
    placed = sorted(order.placed_ms for order in storm)
    assert placed[-1] - placed[0] <= 10 * MINUTE_MS
    for before, after in zip(calm, storm, strict=True):
        assert after.ready_ms - after.placed_ms == before.ready_ms - before.placed_ms
        assert after.best_by_ms >= after.placed_ms + 120 * MINUTE_MS


def test_bad_day_repeats_event_for_event(redis_url: str) -> None:
    of = scenario(BadDay(2, dict.fromkeys(BadEvent, 0.1)))
    first, second = (_without_secrets(simulate(of, redis_url)) for _ in range(2))
    assert first == second


def _without_secrets(day: Day) -> list[tuple[object, ...]]:
    """The events by what does not depend on random ids of transfers."""
    names = ("kind", "at", "from", "to", "what", "driver", "cause")
    return [tuple(event.get(name) for name in names) for event in day.events]
