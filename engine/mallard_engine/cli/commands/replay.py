"""`mallard replay`: record a day of a live market and replay it under another policy."""

import argparse
import asyncio
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mallard_engine.cli.options import add_settings_flags, market_named, places_of, settings_of
from mallard_engine.cli.redis_url import redis_url
from mallard_engine.cli.simulation.day_options import (
    add_day_flags,
    empty_store,
    how_of,
    run_day,
    run_days,
    write_json,
)
from mallard_engine.input_files import InputError
from mallard_engine.simulation.recordings.archived import is_archive, read_archive
from mallard_engine.simulation.recordings.recording import (
    Recording,
    read_recording,
    record,
    write_recording,
)
from mallard_engine.simulation.recordings.replay import ReplayStatistics, as_it_was, scenario_of
from mallard_engine.simulation.reports.day_statistics import statistics_of
from mallard_engine.simulation.scenario import Day
from mallard_engine.simulation.scenario_policy import policy_over

_ASSUMED = (
    "assumed: where drivers start and how likely they take an offer (from their day), one job at a "
    "time, no weights or equipment (docs/topics/simulation.md)."
)
# Row, attribute, decimals.
_ROWS = (
    ("orders", "orders", 0),
    ("undelivered %", "undelivered_percent", 2),
    ("wait, mean min", "wait_mean", 2),
    ("wait, p95 min", "wait_p95", 1),
    ("click to door, mean min", "click_to_door_mean", 1),
    ("on time %", "on_time_percent", 1),
    ("offers an order", "offers_per_order", 2),
    ("km an order", "km_per_order", 2),
)


def add_parser(subparsers: Any) -> None:
    """Add `replay`, which records and replays."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "replay",
        help="record a day of a live market and replay it under another policy",
        description="Records a market's event stream to a file, and replays it in virtual time: "
        "as it was, under the market's policy, and under another one.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    action: argparse.ArgumentParser = actions.add_parser(
        "record",
        help="record a market's events and its jobs' requirements in a file",
        description="Reads the Redis in the settings, without writing to it. Nodes may be "
        "running. The file contains addresses of customers; only its owner can read it.",
    )
    action.add_argument("file", type=Path, metavar="FILE", help="the recording to write")
    action.add_argument("--market", required=True, help="the market's id")
    add_settings_flags(action)
    action.set_defaults(replay=_record)
    action = actions.add_parser(
        "day",
        help="replay a recorded day",
        description="Compares the day as it was with replays under the market's policy and, with "
        "--policy or --set, under another one.",
    )
    action.add_argument(
        "file", type=Path, metavar="FILE", help="the recording, or the files of `mallard archive`"
    )
    action.add_argument("--market", help="the market, of an archive with several")
    action.add_argument(
        "--day", type=_date, metavar="DATE", help="the day (UTC) of an archive, as 2026-11-29"
    )
    action.add_argument("--config", metavar="FILE", help="settings in TOML, with the policy")
    add_day_flags(action)
    action.set_defaults(replay=_day)


def run(args: argparse.Namespace) -> int:
    """Record or replay. Exit status 1 without Redis, 2 for an unreadable or unwritable file."""
    return run_days(args.replay, args)


def _record(args: argparse.Namespace, console: Console) -> None:
    settings = settings_of(args)
    market = market_named(args.market, places_of(settings)).id
    with redis_url(settings) as url:
        recording = asyncio.run(record(url, market))
    write_recording(recording, args.file)
    console.print(f"{args.file}: {len(recording.jobs)} jobs, {len(recording.events)} events")


def _day(args: argparse.Namespace, console: Console) -> None:
    if is_archive(args.file):
        recording = read_archive(args.file, args.market, args.day)
    elif args.market or args.day:
        raise InputError(f"{args.file}: --market and --day are for archives, and this is not one")
    else:
        recording = read_recording(args.file)
    try:
        _replay(args, console, recording)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from error


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-29") from None


def _replay(args: argparse.Namespace, console: Console, recording: Recording) -> None:
    settings = settings_of(args)
    places = places_of(settings, opening_hours=False)
    market = market_named(recording.market, places).id
    own = settings.market_policy(market)
    columns = [("as it was", as_it_was(recording))]
    policies = [("replayed", own)]
    if args.policy is not None or args.settings:
        policies.append(("other policy", policy_over(own, args.policy, args.settings)))
    with empty_store() as url:
        for name, policy in policies:
            scenario = scenario_of(recording, places, policy, seed=args.seed)
            plots = args.plots / name.replace(" ", "-") if args.plots is not None else None
            columns.append((name, _figures(run_day(scenario, url, console, plots))))
    _print(console, f"{recording.market}: {args.file.name}", columns)
    write_json(
        args.json, {"how": how_of(args), "days": {name: asdict(row) for name, row in columns}}
    )


def _figures(day: Day) -> ReplayStatistics:
    found = statistics_of(day)
    return ReplayStatistics(
        found.orders,
        found.undelivered_percent,
        found.wait_mean,
        found.wait_p95,
        found.click_to_door_mean,
        found.on_time_percent,
        found.offers_per_order,
        found.km_per_order,
    )


def _print(console: Console, title: str, columns: list[tuple[str, ReplayStatistics]]) -> None:
    """Print one row per statistic and one column per day, with the difference of two replays."""
    table = Table(title=title)
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right")
    both = [statistics for _, statistics in columns[1:]]
    if len(both) > 1:
        table.add_column("difference", justify="right")
    for label, attribute, places in _ROWS:
        cells = [_text(getattr(statistics, attribute), places) for _, statistics in columns]
        if len(both) > 1:
            before, after = (getattr(statistics, attribute) for statistics in both)
            known = before is not None and after is not None
            cells.append(f"{after - before:+.{places}f}" if known else "–")
        table.add_row(label, *cells)
    console.print(table)
    if len(both) > 1:
        console.print(f"{_ASSUMED} Compare the two replayed columns.")
    else:
        console.print(f"{_ASSUMED} Replay another policy (--policy, --set) to compare with.")


def _text(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"
