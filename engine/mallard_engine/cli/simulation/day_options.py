"""Flags, Redis and output of the commands that simulate days."""

import argparse
import gc
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from mallard_engine.config.settings import ConfigError
from mallard_engine.ports import StoreUnavailable
from mallard_engine.simulation.reports.plots import write_plots
from mallard_engine.simulation.reports.progress import progress_of
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Day, Scenario
from mallard_engine.storage.client.errors import EmbeddedServerError
from mallard_engine.storage.embedded.server import EmbeddedServer

_PLAIN_WIDTH = 190


def day_console() -> Console:
    """Return a console as wide as the terminal, or 190 columns without one."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def add_day_flags(source: argparse.ArgumentParser) -> None:
    """Add the flags of every kind of day."""
    source.add_argument(
        "--policy", type=Path, metavar="FILE", help="TOML file with a [policy] table"
    )
    source.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="set one value of the policy, overriding the file; may be repeated",
    )
    source.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    source.add_argument("--plots", type=Path, metavar="DIR", help="write charts as SVG to DIR/DAY/")
    source.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")


def run_days(
    action: Callable[[argparse.Namespace, Console], int | None], args: argparse.Namespace
) -> int:
    """Run a command that simulates days and return its exit status, 1 without a store.

    An action returns a status of its own, or None for 0.

    Raises:
        ConfigError: A file cannot be read or written.
    """
    try:
        # The alerts of a bad day are part of it.
        is_bad = getattr(args, "bad_day", None) is not None
        with only(logging.ERROR if is_bad else logging.WARNING):
            return action(args, day_console()) or 0
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    except (StoreUnavailable, EmbeddedServerError) as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 1


def how_of(args: argparse.Namespace, **more: object) -> dict[str, Any]:
    """Return the flags that results depend on, to be written with them."""
    return {"seed": args.seed, "policy": str(args.policy or ""), "set": args.settings} | more


def run_day(scenario: Scenario, url: str, console: Console, plots: Path | None) -> Day:
    """Simulate a day on Redis at `url`; write its charts to a folder in `plots`."""
    with progress_of(scenario, console) as watch, _rarely_collected():
        day = simulate(scenario, url, watch)
    if plots is not None:
        folder = plots / scenario.name.replace(" ", "-")
        write_plots(day, folder)
        console.print(f"charts of the day: {folder}")
    return day


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Collect garbage rarely: a day creates few cycles, and the default takes 10 % of its time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def only(level: int) -> Iterator[None]:
    """Log nothing below a level: the results cover a day's ordinary events."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def empty_store() -> Iterator[str]:
    """Yield the URL of an empty Redis, which ends with the block."""
    with EmbeddedServer(persistent=False) as server:
        yield server.url


def write_json(path: Path | None, results: Any) -> None:
    """Write results as JSON, if a file is named."""
    if path is not None:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
