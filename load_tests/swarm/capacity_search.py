"""``python -m load_tests.swarm.capacity_search``: find the highest rate that meets all
objectives."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from load_tests.credentials import BadCredentials
from load_tests.slo import BadObjective, Objective, parse_objective
from load_tests.swarm.coordinator import SwarmFailed
from load_tests.swarm.flags import (
    COOLDOWN_S,
    OFFER_TIMEOUT_S,
    Engine,
    add_swarm_flags,
    engine_of,
    plan_of,
)
from load_tests.swarm.plan import BadPlan, SwarmPlan
from load_tests.swarm.ramp.plot import ramp_plot
from load_tests.swarm.ramp.rate_search import RampPlan, Step, climb, knee
from load_tests.swarm.ramp.terminal import Screen, ramp_table
from load_tests.target import NotAllowed
from mallard_engine.workload.nodes import EngineFailed

_OBJECTIVES: Final = (
    "offer latency:p99<50ms,failures<0.1%",
    "POST /v1/jobs:failures<0.1%",
)
# argparse formats help texts with the % operator.
_DEFAULT_OBJECTIVES: Final = "; ".join(_OBJECTIVES).replace("%", "%%")
_SETTLES_S: Final = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Search; exit status 0 with a knee, 1 if the lowest rate missed an objective or the swarm
    failed, 2 if it cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.swarm.capacity_search", description=__doc__
    )
    add_swarm_flags(parser, rate=0.0, drivers=2000, hold_s=5.0, seconds=20.0, warm_s=0.0)
    ramp = RampPlan()
    parser.add_argument("--first", type=float, default=ramp.first, help="rate (%(default)g)")
    parser.add_argument("--factor", type=float, default=ramp.factor, help="of rates (%(default)g)")
    parser.add_argument("--last", type=float, default=ramp.last, help="rate (%(default)g)")
    parser.add_argument("--halvings", type=int, default=ramp.halvings, help="(%(default)d)")
    parser.add_argument("--slo", action="append", help=f"(default: {_DEFAULT_OBJECTIVES})")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(f"swarm-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"),
        help="writes OUT.jsonl and OUT.svg (default: swarm-TIME here)",
    )
    options = parser.parse_args(arguments)
    # The number of free drivers settles only once the first ones have delivered.
    options.warm_s = options.warm_s or options.hold_s + options.think_s + _SETTLES_S
    try:
        objectives = [parse_objective(text) for text in options.slo or _OBJECTIVES]
        ramp = RampPlan(options.first, options.factor, options.last, options.halvings)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with engine_of(options) as engine:
            plan = plan_of(options, engine.urls)
            steps = asyncio.run(_climb(plan, ramp, engine, objectives, options.out))
    except (BadCredentials, BadObjective, BadPlan, NotAllowed, OSError) as error:
        parser.error(str(error))
    except (EngineFailed, SwarmFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return _tell(plan, steps, options.out)


async def _climb(
    plan: SwarmPlan,
    ramp: RampPlan,
    engine: Engine,
    objectives: Sequence[Objective],
    out: Path,
) -> list[Step]:
    steps: list[Step] = []
    with Screen(plan) as screen, out.with_suffix(".jsonl").open("w") as lines:
        async for step in climb(
            plan, ramp, engine.credentials, engine.meters, objectives, screen.watch
        ):
            steps.append(step)
            print(json.dumps(step.to_json()), file=lines, flush=True)
            screen.show(steps)
        print(json.dumps({"knee": knee(steps)}), file=lines)
    return steps


def _tell(plan: SwarmPlan, steps: Sequence[Step], out: Path) -> int:
    plot = out.with_suffix(".svg")
    plot.write_text(ramp_plot(steps))
    print(ramp_table(steps))
    print(f"{out.with_suffix('.jsonl')}, {plot}")
    found = knee(steps)
    if found is None:
        print(f"no knee: at {steps[0].rate:g} orders a second an objective is missed already")
        return 1
    if all(step.met for step in steps):
        print(f"no knee up to {found:g} orders a second: --last takes it further")
    else:
        print(f"knee: {found:g} orders a second")
    limit = plan.drivers_limit(OFFER_TIMEOUT_S, COOLDOWN_S)
    if found > limit * 0.8 or any(step.rate > limit for step in steps):
        print(
            f"mind that {plan.drivers} drivers cannot take more than about {limit:.0f} a second: "
            "more of them, or a shorter --hold-s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
