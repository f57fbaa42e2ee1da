"""`mallard simulate mallday`: days of one mall, ordinary or bad."""

import argparse
import asyncio
from dataclasses import asdict, replace
from typing import Any, Final

from rich.console import Console

from mallard_engine.cli.options import number
from mallard_engine.cli.simulation.day_options import (
    add_day_flags,
    empty_store,
    how_of,
    run_day,
    write_json,
)
from mallard_engine.cli.simulation.mall_day_options import (
    add_bad_day_flag,
    add_drivers_flag,
    add_mall_flags,
    bad_day_of,
    mall_day,
    policy_of,
)
from mallard_engine.config.settings import ConfigError
from mallard_engine.simulation.reports import bad_day_report, day_report, day_statistics
from mallard_engine.simulation.scenario import Day, Scenario
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.storage.audit.audit import audit
from mallard_engine.workload.bad_day.ledger import added

_GOAL_PERCENT: Final = 98.0
_MOST_DAYS: Final = 366


def add_mallday(sources: Any) -> argparse.ArgumentParser:
    """Add the source `mallday`."""
    source: argparse.ArgumentParser = sources.add_parser(
        "mallday",
        help="days of one mall",
        description="Delivers parcels from the stores of a real mall to the surrounding "
        "households, with drivers on blocks of 3 to 4 hours. "
        "docs/topics/simulation.md lists the assumptions. With --bad-day the exit status is 1 "
        "unless every parcel is accounted for, no driver is sent for parcels known to be absent, "
        "the audit finds no breach, and enough orders are on time.",
    )
    add_mall_flags(source)
    add_drivers_flag(source)
    source.add_argument(
        "--days",
        type=number(int, 1, _MOST_DAYS),
        default=1,
        help="number of days, each with the next seed (default: 1)",
    )
    add_bad_day_flag(source)
    source.add_argument(
        "--readme-drivers",
        action="store_true",
        help="drivers have the app of README.md: they state no vehicle, and deliver by the times "
        "that their offers named; not with --bad-day",
    )
    source.add_argument(
        "--goal",
        type=number(float, 0.0, 100.0),
        default=_GOAL_PERCENT,
        metavar="PERCENT",
        help="least share of the deliverable orders of bad days on time "
        f"(default: {_GOAL_PERCENT:g})",
    )
    add_day_flags(source)
    return source


def simulate_mallday(args: argparse.Namespace, console: Console) -> int:
    """Simulate the days and print them. Exit status 1 if a goal of bad days is missed."""
    scenarios, demand = _scenarios(args)
    days: list[Day] = []
    breaches: list[str] = []
    with empty_store() as url:
        for scenario in scenarios:
            days.append(run_day(scenario, url, console, args.plots))
            if scenario.bad_day is not None:
                breaches += _breaches(scenario, url)
            if len(scenarios) > 1:
                # A week takes an hour: its reader sees each day when it ends.
                day_report.print_day(console, days[-1], len(days), len(scenarios))
    found = [day_statistics.statistics_of(day) for day in days]
    day_report.print_days(console, found, [demand])
    how = how_of(args, mall=args.mall, parcels=args.parcels, drivers=args.drivers, demand=demand)
    results = {"how": how, "days": [asdict(row) for row in found]}
    bad_days = [scenario.bad_day for scenario in scenarios if scenario.bad_day is not None]
    if not bad_days:
        write_json(args.json, results)
        return 0
    accounts = added([day.accounts for day in days if day.accounts is not None])
    goals = bad_day_report.goals_of(accounts, breaches, args.goal)
    bad_day_report.print_whereabouts(console, bad_days[0], accounts)
    bad_day_report.print_goals(console, goals)
    results["bad_days"] = bad_day_report.as_json(accounts, goals)
    write_json(args.json, results)
    return 0 if all(goal.holds for goal in goals) else 1


def _scenarios(args: argparse.Namespace) -> tuple[list[Scenario], str]:
    """Return the days, and the source of their drop-offs."""
    if args.readme_drivers and args.bad_day is not None:
        raise ConfigError("--readme-drivers: these drivers know no bad day")
    scenarios = []
    demand = ""
    for seed in range(args.seed, args.seed + args.days):
        bad_day = bad_day_of(args, seed)
        usual = mallday.default_policy() if bad_day is None else mallday.bad_day_policy()
        policy = policy_of(args, usual)
        scenario, demand = mall_day(args, policy, drivers=args.drivers, seed=seed, bad_day=bad_day)
        scenarios.append(replace(scenario, readme_drivers=args.readme_drivers))
    return scenarios, demand


def _breaches(scenario: Scenario, url: str) -> list[str]:
    """Audit what a day has left in the store."""
    malls = tuple(scenario.places.market(scenario.market).malls.values())
    found = asyncio.run(
        audit(
            url,
            {scenario.market: scenario.policy},
            now_ms=lambda: scenario.end_ms,
            malls={scenario.market: malls},
        )
    )
    return [f"{it.rule} {it.kind} {it.id}: {it.what}" for it in found.breaches]
