"""Flags of the swarm's commands."""

import argparse
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load_tests.credentials import Credentials, read_driver_tokens, read_secret
from load_tests.meters import Meters
from load_tests.swarm.plan import BadPlan, SwarmPlan
from mallard_engine.workload.nodes import running_nodes, running_redis

_DEFAULTS: Final = {
    name: SwarmPlan.__dataclass_fields__[name].default for name in SwarmPlan.__dataclass_fields__
}
_FLAGS: Final = (
    ("--drivers", int, "drivers on sockets"),
    ("--rate", float, "orders a second"),
    ("--seconds", float, "the measured time"),
    ("--warm-s", float, "orders before the measured time"),
    ("--processes", int, "of the generator; one is enough for thousands of drivers"),
    ("--report-s", float, "seconds between a driver's positions; 0: none"),
    ("--think-s", float, "from an offer to its answer"),
    ("--hold-s", float, "from accepting to delivering"),
    ("--decline-share", float, "of the offers"),
    ("--lapse-share", float, "of the offers that lapse"),
    ("--connects-per-s", float, "at the start"),
    ("--grace-s", float, "an order without an offer by then has failed"),
    ("--seed", int, "of the draw of places, arrivals and habits"),
)
# Short limits, so that drivers who decline are soon available again.
OFFER_TIMEOUT_S: Final = 5.0
COOLDOWN_S: Final = 5.0
ENGINE: Final = {
    "MALLARD_OPENING_HOURS": "off",
    # One service sends the load of a market's.
    "MALLARD_SERVICE_RATE_PER_S": "0",
    "MALLARD_WAITS": "0",
    "MALLARD_SERVICE_OPEN_JOBS": "0",
    "MALLARD_SERVICE_STORED_BYTES": "0",
    "MALLARD_OFFER_TIMEOUT_MS": f"{OFFER_TIMEOUT_S * 1000:.0f}",
    "MALLARD_COOLDOWN_S": f"{COOLDOWN_S:g}",
    "MALLARD_DRAIN_LINGER_S": "0",
    "MALLARD_LOG_LEVEL": "warning",
}


def add_swarm_flags(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the flags of a plan, the engine and its tokens; `defaults` override the plan's."""
    parser.add_argument("--url", action="append", help="a running node; repeatable")
    parser.add_argument("--nodes", type=int, help="or start this many nodes on loopback (1)")
    for flag, kind, text in _FLAGS:
        name = flag[2:].replace("-", "_")
        default = defaults.get(name, _DEFAULTS[name])
        parser.add_argument(flag, type=kind, default=default, help=f"{text} ({default:g})")
    parser.add_argument("--market", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--mall", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--name", default=_DEFAULTS["name"], help="of the drivers: NAME-0, …")
    parser.add_argument("--secret-file", type=Path, help="the engine's, from its data folder")
    parser.add_argument("--orders-token", help="instead of the secret, with --driver-tokens")
    parser.add_argument("--driver-tokens", type=Path, help="a token a line")
    parser.add_argument("--allow-remote", action="store_true", help="the engine is elsewhere")


def plan_of(options: argparse.Namespace, urls: Sequence[str]) -> SwarmPlan:
    """Return the plan of the flags. Raises `BadPlan`, `NotAllowed`."""
    names = [flag[2:].replace("-", "_") for flag, *_ in _FLAGS]
    return SwarmPlan(
        urls=tuple(urls),
        **{name: getattr(options, name) for name in names},
        markets=tuple(options.market),
        malls=tuple(options.mall),
        name=options.name,
        allow_remote=options.allow_remote,
    )


def credentials_of(options: argparse.Namespace) -> Credentials:
    """Return the tokens of the flags. Raises `BadCredentials`."""
    return Credentials(
        read_secret(options.secret_file) if options.secret_file else None,
        options.orders_token,
        None,
        read_driver_tokens(options.driver_tokens) if options.driver_tokens else (),
    )


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine under test: its nodes, tokens and meters."""

    urls: tuple[str, ...]
    credentials: Credentials
    meters: Meters


@contextmanager
def engine_of(options: argparse.Namespace) -> Iterator[Engine]:
    """Yield the engine of the flags, or start one that ends with the block.

    Raises `BadPlan`, `BadCredentials`, `EngineFailed`.
    """
    if options.url and options.nodes:
        raise BadPlan("--url is an engine that runs, --nodes one to be started: give one of them")
    if options.url:
        meters = Meters(metrics=options.url)
        yield Engine(tuple(options.url), credentials_of(options), meters)
        return
    plan_of(options, ("http://127.0.0.1:8000",))  # fails before anything is started
    secret = secrets.token_hex(32)
    environment = {**ENGINE, "MALLARD_SECRET": secret}
    with ExitStack() as started:
        folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mallard-swarm-")))
        # A separate Redis even for a single node, so that its use can be measured separately.
        redis = started.enter_context(running_redis(folder))
        nodes = started.enter_context(
            running_nodes(options.nodes or 1, folder, environment, redis=redis)
        )
        urls = tuple(node.url for node in nodes)
        meters = Meters([node.pid for node in nodes], redis=redis, metrics=urls)
        yield Engine(urls, Credentials(secret=secret), meters)
