"""`mallard simulate`: whole days through the real dispatcher and store, in virtual time."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from engine.config import ConfigError
from engine.simulation import mdrp, mdrp_report, mdrp_solution
from engine.simulation.day import simulate
from engine.simulation.policies import policy_over
from engine.simulation.progress import progress_of
from engine.simulation.scenario import Day, Scenario
from engine.store.embedded import EmbeddedServer
from engine.store.errors import EmbeddedServerError

_PLAIN_WIDTH = 150


def add_parser(subparsers: Any) -> None:
    """Add `simulate` and its sources of days."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="replay whole days in virtual time",
        description="Whole days through the real dispatcher, its scripts and an embedded store, in "
        "virtual time. The same seed gives the same day, event for event.",
    )
    sources = parser.add_subparsers(metavar="SOURCE", required=True)
    source: argparse.ArgumentParser = sources.add_parser(
        "mdrp",
        help="instances of the Meal Delivery Routing Problem",
        description="Instances of mdrplib: each restaurant is a mall with one store. Their rules "
        "are obeyed, and the solution files are those of the benchmark's evaluator.",
    )
    source.add_argument("instances", nargs="+", type=Path, metavar="INSTANCE_DIR")
    source.add_argument(
        "--solution", type=Path, metavar="DIR", help="write solution files to DIR/INSTANCE/"
    )
    _add_common(source)
    source.set_defaults(simulate=_mdrp)


def _add_common(source: argparse.ArgumentParser) -> None:
    source.add_argument(
        "--policy", type=Path, metavar="FILE", help="TOML with a [policy] table: a market's figures"
    )
    source.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="figures",
        help="one figure of the policy, over the file; may be repeated",
    )
    source.add_argument("--seed", type=int, default=0, help="default: 0")
    source.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Simulate. Exit status 2 for what cannot be read or written."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    source: Callable[[argparse.Namespace, Console], None] = args.simulate
    try:
        source(args, console)
    except (mdrp.InstanceError, OSError) as error:
        raise ConfigError(str(error)) from error
    except EmbeddedServerError as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 1
    return 0


def _mdrp(args: argparse.Namespace, console: Console) -> None:
    instances = [mdrp.read_instance(folder) for folder in args.instances]
    days = [
        mdrp.scenario_of(
            instance,
            policy_over(mdrp.default_policy(instance.parameters), args.policy, args.figures),
            args.seed,
        )
        for instance in instances
    ]
    published = mdrp_report.read_published(args.instances[0].resolve().parent)
    figures = []
    with _store() as url:
        for instance, scenario in zip(instances, days, strict=True):
            day = _run(scenario, url, console)
            if args.solution is not None:
                mdrp_solution.write_solution(day, instance, args.solution / instance.name)
            figures.append(mdrp_solution.figures_of(day, instance))
    mdrp_report.print_table(console, figures, published)
    how = {"seed": args.seed, "policy": str(args.policy or ""), "set": args.figures}
    _write_json(args.json, mdrp_report.as_json(figures, published, how))


def _run(scenario: Scenario, url: str, console: Console) -> Day:
    with progress_of(scenario, console) as watch:
        return simulate(scenario, url, watch)


@contextmanager
def _store() -> Iterator[str]:
    with EmbeddedServer(persistent=False) as server:
        yield server.url


def _write_json(path: Path | None, figures: Any) -> None:
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
