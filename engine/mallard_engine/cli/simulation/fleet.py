"""`mallard simulate fleet` and `hindsight`: size a mall's fleet, and plan its day in hindsight.

`fleet` searches for the smallest fleet that is on time; `hindsight` plans with all orders known.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console

from mallard_engine.cli.options import number
from mallard_engine.cli.simulation.day_options import how_of
from mallard_engine.cli.simulation.mall_day_options import (
    add_drivers_flag,
    add_mall_flags,
    mall_day,
    policy_of,
)
from mallard_engine.config.settings import ConfigError
from mallard_engine.simulation.fleet_sizing import FleetSearch, smallest_fleet
from mallard_engine.simulation.hindsight import HindsightUnavailable, plan_day
from mallard_engine.simulation.reports import day_report, day_statistics
from mallard_engine.simulation.scenario import Day, Scenario


def add_fleet(sources: Any, add_common: Callable[[Any], None]) -> argparse.ArgumentParser:
    """Add the source `fleet`."""
    source: argparse.ArgumentParser = sources.add_parser(
        "fleet",
        help="the smallest fleet that keeps a mall day on time",
        description="Searches by bisection over mall days for the smallest fleet that reaches the "
        "goal with every seed, and prints its scheduled driver-hours.",
    )
    add_mall_flags(source)
    source.add_argument(
        "--goal",
        type=number(float, 0.0, 100.0),
        default=99.0,
        metavar="PERCENT",
        help="share of orders delivered on time (default: 99)",
    )
    source.add_argument(
        "--most", type=number(int, 1, 5_000), default=256, help="the largest fleet (default: 256)"
    )
    source.add_argument(
        "--least",
        type=number(int, 1, 5_000),
        default=1,
        help="the smallest fleet to try; fewer drivers are assumed to be too few (default: 1)",
    )
    source.add_argument(
        "--step", type=number(int, 1, 1_000), default=4, help="precision in drivers (default: 4)"
    )
    source.add_argument(
        "--seeds",
        type=number(int, 1, 100),
        default=1,
        help="number of seeds, starting at --seed (default: 1)",
    )
    add_common(source)
    return source


def add_hindsight(sources: Any, add_common: Callable[[Any], None]) -> argparse.ArgumentParser:
    """Add the source `hindsight`."""
    source: argparse.ArgumentParser = sources.add_parser(
        "hindsight",
        help="a mall day planned with full hindsight, by PyVRP",
        description="Plans the day that `mallday` of the same seed, parcels, drivers and policy "
        "simulates, with every order known from the start. Needs mallard-engine[hindsight].",
    )
    add_mall_flags(source)
    add_drivers_flag(source)
    source.add_argument(
        "--minutes", type=number(float, 0.01, 600), default=10.0, help="planning time (default: 10)"
    )
    add_common(source)
    return source


def plan(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Plan the day, print the result and return it for JSON."""
    scenario, demand = mall_day(args, policy_of(args), drivers=args.drivers, seed=args.seed)
    try:
        found = plan_day(scenario, minutes=args.minutes, seed=args.seed)
    except HindsightUnavailable as error:
        raise ConfigError(str(error)) from error
    console.print(
        f"{found.orders} parcels in {found.runs} runs of {found.drivers_used} drivers: "
        f"{found.km_per_order:.3f} km an order after {found.iterations} iterations"
        + ("" if found.feasible else "; NOT feasible: a deadline or a capacity is violated")
    )
    how = how_of(
        args,
        mall=args.mall,
        parcels=args.parcels,
        drivers=args.drivers,
        minutes=args.minutes,
        demand=demand,
    )
    return {"how": how, "plan": asdict(found) | {"km_per_order": found.km_per_order}}


def search(
    args: argparse.Namespace,
    console: Console,
    simulate: Callable[[Scenario], Day],
) -> dict[str, Any]:
    """Search for the smallest fleet, print the result and return it for JSON."""
    policy = policy_of(args)
    sources: list[str] = []

    def run(drivers: int, seed: int) -> day_statistics.DayStatistics:
        scenario, source = mall_day(args, policy, drivers=drivers, seed=seed)
        sources[:] = [source]
        found = day_statistics.statistics_of(simulate(scenario))
        console.print(f"{drivers} drivers, seed {seed}: {found.on_time_percent:.2f} % on time")
        return found

    if args.least > args.most:
        raise ConfigError(f"--least {args.least} is larger than --most {args.most}")
    seeds = range(args.seed, args.seed + args.seeds)
    result = smallest_fleet(
        run, seeds, goal_percent=args.goal, most=args.most, step=args.step, least=args.least
    )
    _print(console, result, args, sources[0])
    how = how_of(
        args,
        seeds=args.seeds,
        mall=args.mall,
        parcels=args.parcels,
        goal_percent=args.goal,
        most=args.most,
        least=args.least,
        step=args.step,
        demand=sources[0],
    )
    return {
        "how": how,
        "drivers": result.drivers,
        "driver_hours": result.driver_hours,
        "lowest_in_time_percent_by_drivers": result.tried,
        "days": [asdict(day) for day in result.days or ()],
    }


def _print(console: Console, result: FleetSearch, args: argparse.Namespace, source: str) -> None:
    if result.days is None:
        console.print(f"{args.most} drivers do not deliver {args.goal:g} % on time")
        return
    day_report.print_days(console, result.days, [source])
    console.print(
        f"smallest fleet with {args.goal:g} % on time: {result.drivers} drivers, "
        f"{result.driver_hours:.0f} scheduled driver-hours"
    )
