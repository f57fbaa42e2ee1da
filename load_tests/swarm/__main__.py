"""``python -m load_tests.swarm``: one rate, and a table of what came of it."""

import argparse
import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from load_tests.credentials import BadCredentials, Credentials, read_driver_tokens, read_secret
from load_tests.nodes import EngineFailed, running_nodes
from load_tests.slo import BadObjective, judge, parse_objective
from load_tests.swarm.conductor import Glance, SwarmFailed, run_swarm
from load_tests.swarm.plan import BadPlan, SwarmPlan
from load_tests.swarm.result import SwarmResult
from load_tests.tables import latency_table, verdict_table
from load_tests.target import NotAllowed

_DEFAULTS: Final = {
    name: SwarmPlan.__dataclass_fields__[name].default for name in SwarmPlan.__dataclass_fields__
}
_FIGURES: Final = (
    ("--drivers", int, "drivers on sockets"),
    ("--rate", float, "orders a second"),
    ("--seconds", float, "for how long it is measured"),
    ("--warm-s", float, "orders arrive so long before that"),
    ("--processes", int, "of the generator; one is enough for thousands of drivers"),
    ("--report-s", float, "seconds between a driver's positions; 0: none"),
    ("--think-s", float, "from an offer to its answer"),
    ("--hold-s", float, "from accepting to delivering"),
    ("--decline-share", float, "of the offers"),
    ("--lapse-share", float, "of the offers that nobody answers"),
    ("--connects-per-s", float, "at the start"),
    ("--grace-s", float, "an order without an offer by then has failed"),
    ("--seed", int, "of the draw of places, arrivals and habits"),
)
ENGINE: Final = {
    "MALLARD_OPENING_HOURS": "off",
    "MALLARD_LOG_LEVEL": "warning",
}


def add_swarm_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a plan, of the engine and of its tokens."""
    parser.add_argument("--url", action="append", help="a node that runs; repeatable")
    parser.add_argument("--nodes", type=int, help="or so many of its own, on loopback (1)")
    for flag, kind, text in _FIGURES:
        default = _DEFAULTS[flag[2:].replace("-", "_")]
        parser.add_argument(flag, type=kind, default=default, help=f"{text} ({default:g})")
    parser.add_argument("--market", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--mall", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--name", default=_DEFAULTS["name"], help="of the drivers: NAME-0, …")
    parser.add_argument("--secret-file", type=Path, help="the engine's, from its data folder")
    parser.add_argument("--orders-token", help="instead of the secret, with --driver-tokens")
    parser.add_argument("--driver-tokens", type=Path, help="a token a line")
    parser.add_argument("--allow-remote", action="store_true", help="the engine is elsewhere")


def plan_of(options: argparse.Namespace, urls: Sequence[str]) -> SwarmPlan:
    """The plan that the flags say. Raises `BadPlan`, `NotAllowed`."""
    figures = {flag[2:].replace("-", "_"): 0 for flag, *_ in _FIGURES}
    return SwarmPlan(
        urls=tuple(urls),
        **{name: getattr(options, name) for name in figures},
        markets=tuple(options.market),
        malls=tuple(options.mall),
        name=options.name,
        allow_remote=options.allow_remote,
    )


def credentials_of(options: argparse.Namespace) -> Credentials:
    """The tokens that the flags name. Raises `BadCredentials`."""
    return Credentials(
        read_secret(options.secret_file) if options.secret_file else None,
        options.orders_token,
        None,
        read_driver_tokens(options.driver_tokens) if options.driver_tokens else (),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one; exit status 0 when every objective was met, 1 when not, 2 if it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.swarm", description=__doc__)
    add_swarm_flags(parser)
    parser.add_argument("--slo", action="append", default=[], help="as in load_tests/slo.py")
    parser.add_argument("--json", action="store_true", help="a line of JSON instead of tables")
    options = parser.parse_args(arguments)
    try:
        objectives = [parse_objective(text) for text in options.slo]
        result = _run(options)
    except (BadCredentials, BadObjective, BadPlan, NotAllowed) as error:
        parser.error(str(error))
    except (EngineFailed, SwarmFailed) as error:
        print(error, file=sys.stderr)
        return 1
    verdicts = judge(objectives, result.histograms)
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        _print(result)
        if verdicts:
            print(verdict_table(verdicts))
    return 0 if all(verdict.met for verdict in verdicts) else 1


def _run(options: argparse.Namespace) -> SwarmResult:
    if options.url and options.nodes:
        raise BadPlan("--url is an engine that runs, --nodes one to be started: give one of them")
    if options.url:
        return run_swarm(plan_of(options, options.url), credentials_of(options), watch=_watch)
    secret = secrets.token_hex(32)
    environment = {**ENGINE, "MALLARD_SECRET": secret}
    with (
        tempfile.TemporaryDirectory(prefix="mallard-swarm-") as folder,
        running_nodes(options.nodes or 1, Path(folder), environment) as nodes,
    ):
        plan = plan_of(options, [node.url for node in nodes])
        return run_swarm(plan, Credentials(secret=secret), watch=_watch)


def _watch(glance: Glance) -> None:
    if sys.stderr.isatty():
        offers = glance.window.histograms["offer latency"]
        print(
            f"\r{glance.seconds:6.1f} s  {glance.online} drivers  {offers.count} offers  "
            f"p50 {offers.percentile_ms(50):.2f} ms  p99 {offers.percentile_ms(99):.2f} ms  ",
            end="",
            file=sys.stderr,
            flush=True,
        )


def _print(result: SwarmResult) -> None:
    print(latency_table(result.histograms))
    figures: list[tuple[str, Any]] = [
        ("drivers", result.drivers),
        ("jobs delivered a second", f"{result.cycles_per_s:.1f}"),
        ("fixes a second", f"{result.fixes_per_s:.1f}"),
        ("generator's CPU, of one core", f"{result.generator_cpu:.1%}"),
        ("generator's loop was late by at most", f"{result.generator_lag_ms:.1f} ms"),
    ]
    for name, figure in (*figures, *sorted(result.counts.items())):
        print(f"{name:<44}{figure}")


if __name__ == "__main__":
    sys.exit(main())
