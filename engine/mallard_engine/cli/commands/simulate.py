"""`mallard simulate`: run whole days through the real dispatcher and Redis in virtual time."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from mallard_engine.cli.options import number
from mallard_engine.cli.simulation.day_options import (
    add_day_flags,
    empty_store,
    how_of,
    run_day,
    run_days,
    write_json,
)
from mallard_engine.cli.simulation.fleet import add_fleet, add_hindsight, plan, search
from mallard_engine.cli.simulation.mallday import add_mallday, simulate_mallday
from mallard_engine.simulation.mdrp import instance_files, report, solution
from mallard_engine.simulation.reports import day_report, day_statistics
from mallard_engine.simulation.scenario_policy import policy_over
from mallard_engine.simulation.scenarios import cityday


def add_parser(subparsers: Any) -> None:
    """Add `simulate` and its sources of days."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="simulate whole days in virtual time",
        description="Runs whole days through the real dispatcher, its scripts and an embedded "
        "Redis in virtual time. The same seed gives the same day, event for event.",
    )
    sources = parser.add_subparsers(metavar="SOURCE", required=True)
    source: argparse.ArgumentParser = sources.add_parser(
        "mdrp",
        help="instances of the Meal Delivery Routing Problem",
        description="Runs instances of mdrplib under their rules: each restaurant is a mall with "
        "one store. The solution files are those of the benchmark's evaluator.",
    )
    source.add_argument(
        "instances", nargs="+", type=Path, metavar="INSTANCE_DIR", help="the folder of an instance"
    )
    source.add_argument(
        "--solution", type=Path, metavar="DIR", help="write solution files to DIR/INSTANCE/"
    )
    add_day_flags(source)
    source.set_defaults(simulate=_mdrp)

    source = sources.add_parser(
        "cityday",
        help="real delivery days of cities",
        description="Runs days of mdrp-sim. Assumed: speed "
        f"{cityday.SPEED_MPS:g} m/s over {cityday.CIRCUITY:g} x the straight line, a minute of "
        "service at each end, couriers who accept with a probability from U(0.4, 1); half of the "
        "refusals are silence.",
    )
    source.add_argument("days", nargs="+", type=Path, metavar="DIR", help="the folder of a day")
    source.add_argument(
        "--fleet",
        type=number(float, 0.001, 1.0),
        default=1.0,
        metavar="SHARE",
        help="share of the couriers to keep, such as 0.25 (default: 1)",
    )
    source.add_argument(
        "--known-offers",
        type=number(int, 0, 1_000),
        default=0,
        metavar="N",
        help="number of earlier offers in each courier's history (default: 0)",
    )
    source.add_argument(
        "--from",
        type=number(int, 0, 47),
        default=0,
        metavar="HOUR",
        dest="from_hour",
        help="simulate only orders placed from this hour on, with the couriers on shift "
        "(default: the whole day)",
    )
    add_day_flags(source)
    source.set_defaults(simulate=_cityday)
    add_mallday(sources).set_defaults(simulate=simulate_mallday)
    add_fleet(sources, add_day_flags).set_defaults(simulate=_fleet)
    add_hindsight(sources, add_day_flags).set_defaults(simulate=_hindsight)


def run(args: argparse.Namespace) -> int:
    """Simulate. Exit status 1 without Redis or for a bad day that misses a goal, 2 for an
    unreadable or unwritable file.
    """
    return run_days(args.simulate, args)


def _mdrp(args: argparse.Namespace, console: Console) -> None:
    instances = [instance_files.read_instance(folder) for folder in args.instances]
    days = [
        instance_files.scenario_of(
            instance,
            policy_over(
                instance_files.default_policy(instance.parameters), args.policy, args.settings
            ),
            args.seed,
        )
        for instance in instances
    ]
    published = report.read_published(args.instances[0].resolve().parent)
    found = []
    with empty_store() as url:
        for instance, scenario in zip(instances, days, strict=True):
            day = run_day(scenario, url, console, args.plots)
            if args.solution is not None:
                solution.write_solution(day, instance, args.solution / instance.name)
            found.append(solution.statistics_of(day, instance))
    report.print_table(console, found, published)
    write_json(args.json, report.as_json(found, published, how_of(args)))


def _cityday(args: argparse.Namespace, console: Console) -> None:
    policy = policy_over(cityday.default_policy(), args.policy, args.settings)
    days = [cityday.read_day(folder) for folder in args.days]
    found, notes = [], []
    with empty_store() as url:
        for day in days:
            scenario = cityday.scenario_of(
                day, policy, fleet=args.fleet, seed=args.seed, known_offers=args.known_offers
            )
            if args.from_hour:
                scenario = cityday.from_hour(scenario, args.from_hour)
            found.append(day_statistics.statistics_of(run_day(scenario, url, console, args.plots)))
            if day.dropped or day.far:
                notes.append(
                    f"{scenario.name}: {day.dropped} shifts end at or before their start and are "
                    f"dropped; {day.far} couriers start in another city and are scattered around "
                    "pickups instead"
                )
    day_report.print_days(console, found, notes)
    how = how_of(args, fleet=args.fleet, known_offers=args.known_offers, from_hour=args.from_hour)
    write_json(args.json, {"how": how, "days": [asdict(row) for row in found]})


def _fleet(args: argparse.Namespace, console: Console) -> None:
    with empty_store() as url:
        found = search(args, console, lambda scenario: run_day(scenario, url, console, args.plots))
    write_json(args.json, found)


def _hindsight(args: argparse.Namespace, console: Console) -> None:
    write_json(args.json, plan(args, console))
