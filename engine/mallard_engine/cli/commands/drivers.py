"""`mallard drivers`: run simulated driver apps on real sockets against a running engine."""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from typing import Any, Final

from mallard_client.driver.connection import socket_url
from mallard_engine.cli.live.engine import is_engine_url
from mallard_engine.cli.options import (
    add_settings_flags,
    interrupt_on_sigterm,
    market_named,
    number,
    places_of,
    settings_of,
)
from mallard_engine.config.settings import ConfigError
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.input_files import quoted
from mallard_engine.workload.fleet import DriverProfile, Fleet, Habits
from mallard_engine.workload.fleet_tally import percentile
from mallard_engine.workload.random_points import home_near
from mallard_protocol.codes import Role
from mallard_protocol.messages import Vehicle

_TOKEN_TTL_S: Final = 86_400
_PRINT_EVERY_S: Final = 5.0


def add_parser(subparsers: Any) -> None:
    """Add `drivers`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "drivers",
        help="run simulated driver apps against an engine",
        description="Runs simulated driver apps with the deployment's secret. They decline some "
        "offers, let some expire, and lose their connection once a minute on average (`dropped`).",
    )
    parser.add_argument(
        "--url",
        action="append",
        help="address of a node (default: ws://127.0.0.1:8000); repeat it for several nodes",
    )
    parser.add_argument(
        "--market", required=True, metavar="M", help="the market in which they drive"
    )
    parser.add_argument(
        "--count",
        type=number(int, 1, 100_000),
        default=10,
        metavar="N",
        help="number of drivers (default: 10)",
    )
    parser.add_argument(
        "--seconds",
        type=number(float, 0.1, 1e9),
        metavar="S",
        help="duration in seconds (default: until interrupted)",
    )
    parser.add_argument(
        "--speed-mps",
        type=number(float, 0.1, 100_000),
        default=15.0,
        metavar="V",
        help="speed in m/s (default: 15; the engine accepts up to MALLARD_MAX_SPEED_MPS)",
    )
    parser.add_argument(
        "--max-jobs",
        type=number(int, 1, 50),
        metavar="N",
        help="jobs that a vehicle has room for (default: a car's usual room; a market pools up to"
        " its max_run_jobs)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="random seed of their behaviour (default: 1)"
    )
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Run the drivers. Exit status 1 if one was rejected for good or none was welcomed."""
    urls = [_sockets(url) for url in args.url or ["ws://127.0.0.1:8000"]]
    settings = settings_of(args)
    market = market_named(args.market, places_of(settings))
    tokens = Tokens(load_token_keys(settings))
    rng = random.Random(args.seed)  # noqa: S311 - a simulation's chance
    malls = list(market.malls.values())
    vehicle = None if args.max_jobs is None else Vehicle(max_jobs=args.max_jobs)
    fleet = Fleet(
        urls,
        [
            DriverProfile(
                name,
                home_near(rng.choice(malls), market, rng),
                tokens.mint(name, Role.DRIVER, ttl_s=_TOKEN_TTL_S, market=market.id),
                vehicle,
            )
            for name in (f"sim-{number}" for number in range(args.count))
        ],
        habits=Habits(speed_mps=args.speed_mps),
        seed=args.seed,
    )
    interrupt_on_sigterm()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_drive(fleet, args.seconds))
    print(_line(fleet))
    if not fleet.tally.welcomes:
        print(
            f"mallard: no driver was welcomed: is an engine at {', '.join(urls)}?", file=sys.stderr
        )
        return 1
    return 1 if fleet.tally.counts["stopped"] else 0


def _sockets(text: str) -> str:
    """Return the address of an engine's sockets. Raises `ConfigError`."""
    scheme, separator, rest = text.partition("://")
    as_http = {"ws": "http", "wss": "https"}.get(scheme, scheme) + separator + rest
    if not is_engine_url(as_http):
        raise ConfigError(
            f"{quoted(text)} is not the address of an engine: ws://HOST:PORT or http://HOST:PORT"
        )
    return socket_url(as_http)


async def _drive(fleet: Fleet, seconds: float | None) -> None:
    ends_at = None if seconds is None else time.monotonic() + seconds
    fleet.start()
    try:
        while ends_at is None or (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(_PRINT_EVERY_S if ends_at is None else min(_PRINT_EVERY_S, left_s))
            print(_line(fleet), flush=True)
    finally:
        await fleet.stop()


def _line(fleet: Fleet) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(fleet.tally.counts.items()))
    push_ms = percentile(fleet.tally.push_ms, 0.5)
    push = "" if push_ms is None else f"; an offer takes {push_ms:.0f} ms to the app"
    return f"{fleet.connected} connected; {counts or 'no offers yet'}{push}"
