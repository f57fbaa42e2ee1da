"""`mallard demo`: two nodes, simulated drivers, orders, and an audit of every parcel."""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from mallard_client.errors import CallFailed
from mallard_engine.cli.options import interrupt_on_sigterm, number, places_named
from mallard_engine.cli.simulation.mall_day_options import add_bad_day_flag, bad_day_of
from mallard_engine.demo.demo_run import DemoRun
from mallard_engine.demo.plan import Plan, new_secret
from mallard_engine.demo.screen import Screen
from mallard_engine.demo.summary import print_summary
from mallard_engine.storage.client.errors import EmbeddedServerError
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.workload.demand import Demand, load_zips
from mallard_engine.workload.nodes import EngineFailed
from mallard_protocol.codes import ServiceLevel

_PLAIN_WIDTH = 120
_DAY_S = 86_400.0


def add_parser(subparsers: Any) -> None:
    """Add `demo`."""
    plan = Plan()
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo", help="run two nodes, simulated drivers and orders, and audit the result"
    )
    parser.add_argument(
        "--seconds",
        type=number(float, 0.1, 86_400),
        default=plan.seconds,
        help=f"how long orders arrive (default: {plan.seconds:g}); the demo ends when all are done",
    )
    parser.add_argument(
        "--rate",
        type=number(float, 0.1, 10_000),
        default=plan.rate,
        help=f"orders a second, on average (default: {plan.rate:g})",
    )
    parser.add_argument(
        "--drivers",
        type=number(int, 1, 100_000),
        default=plan.drivers,
        help=f"number of drivers (default: {plan.drivers})",
    )
    parser.add_argument(
        "--seed", type=int, default=plan.seed, help=f"random seed (default: {plan.seed})"
    )
    parser.add_argument(
        "--preset",
        choices=[level.value for level in ServiceLevel],
        default=plan.preset,
        help=f"service level of the orders (default: {plan.preset})",
    )
    parser.add_argument(
        "--kill-node", action="store_true", help="kill one node with SIGKILL halfway"
    )
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="an empty Redis, a master with Sentinels or a cluster to run on (default: an embedded "
        "server)",
    )
    parser.add_argument(
        "--stay",
        action="store_true",
        help="print links to the pages, and continue until Ctrl-C; without an audit",
    )
    add_bad_day_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo. Exit status 0 if no parcel was lost or doubled and no invariant violated.

    A demo that stays ends without an audit, with status 0, when it is interrupted.

    Raises:
        ConfigError: The bad day is invalid.
    """
    plan = Plan(
        seconds=_DAY_S if args.stay else args.seconds,
        rate=args.rate,
        drivers=args.drivers,
        seed=args.seed,
        kill_node=args.kill_node,
        stay=args.stay,
        preset=args.preset,
        bad_day=bad_day_of(args, args.seed),
    )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    demand = Demand(places_named(), load_zips(os.environ))
    until = "until Ctrl-C" if plan.stay else f"for {plan.seconds:g} s"
    title = (
        f"{plan.drivers} drivers, {plan.rate:g} orders a second {until} at "
        f"{len(demand.catchments)} malls; {plan.summary()}; {demand.source}"
    )
    interrupt_on_sigterm()
    try:
        # Started in the main thread: the embedded server ends with the thread that started it.
        with (
            tempfile.TemporaryDirectory(prefix="mallard-demo-") as folder,
            _store_url(args.redis) as url,
        ):
            with Screen(console, title) as screen:
                demo = DemoRun(plan, demand, screen, redis_url=url, secret=new_secret())
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    outcome = runner.run(demo.run(Path(folder)))
            print_summary(console, outcome)
    except (EmbeddedServerError, EngineFailed) as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 1
    except CallFailed as error:  # Redis or every node is lost
        print(f"mallard: the audit cannot read the jobs: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if plan.stay:  # its only end
            return 0
        raise
    return 0 if outcome.holds else 1


@contextlib.contextmanager
def _store_url(given: str | None) -> Iterator[str]:
    if given is not None:
        yield given
        return
    with EmbeddedServer() as store:
        yield store.url
