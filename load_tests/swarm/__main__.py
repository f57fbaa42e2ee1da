"""``python -m load_tests.swarm``: run one rate and print the measures."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from load_tests.credentials import BadCredentials
from load_tests.slo import BadObjective, judge, parse_objective
from load_tests.swarm.coordinator import PhaseProgress, SwarmFailed, run_swarm
from load_tests.swarm.flags import add_swarm_flags, engine_of, plan_of
from load_tests.swarm.plan import BadPlan
from load_tests.swarm.result import SwarmResult
from load_tests.target import NotAllowed
from load_tests.users.tables import latency_table, verdict_table
from mallard_engine.workload.nodes import EngineFailed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one rate; exit status 0 if every objective was met, 1 if not, 2 if it cannot start."""
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
    with engine_of(options) as engine:
        return run_swarm(plan_of(options, engine.urls), engine.credentials, watch=_watch)


def _watch(progress: PhaseProgress) -> None:
    if sys.stderr.isatty():
        offers = progress.window.histograms["offer latency"]
        print(
            f"\r{progress.seconds:6.1f} s  {progress.online} drivers  {offers.count} offers  "
            f"p50 {offers.percentile_ms(50):.2f} ms  p99 {offers.percentile_ms(99):.2f} ms  ",
            end="",
            file=sys.stderr,
            flush=True,
        )


def _print(result: SwarmResult) -> None:
    print(latency_table(result.histograms))
    results: list[tuple[str, Any]] = [
        ("drivers", result.drivers),
        ("jobs delivered a second", f"{result.cycles_per_s:.1f}"),
        ("fixes a second", f"{result.fixes_per_s:.1f}"),
        ("generator's CPU, of one core", f"{result.generator_cpu:.1%}"),
        ("generator's loop was late by at most", f"{result.generator_lag_ms:.1f} ms"),
    ]
    for name, value in (*results, *sorted(result.counts.items())):
        print(f"{name:<44}{value}")


if __name__ == "__main__":
    sys.exit(main())
