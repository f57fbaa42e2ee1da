"""Measure what jobs cost that no driver can take: CPU of a core, and Redis's log."""

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Final

import httpx2

from load_tests.benchmarks.system.arena import MALLARD, Arena, Contestant
from load_tests.faults.outage import HOME, MALL

HELP: Final = "jobs that no driver can take"
CPU_MOST: Final = 0.02
LOG_MOST: Final = 10 * 1024
_AT_ONCE: Final = 16


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--settle", type=float, default=20.0, help="seconds before it measures")


def run(args: argparse.Namespace) -> int:
    """Measure and print; return 1 if a figure is over its goal."""
    with Arena().running(MALLARD) as engine:
        asyncio.run(_submit(engine, args.jobs))
        time.sleep(args.settle)
        before, log = engine.meters.closing(), _log_bytes(engine)
        time.sleep(args.seconds)
        after, grown = engine.meters.closing(), _log_bytes(engine) - log
    seconds = after.at_s - before.at_s
    node = ((after.engine_cpu_s or 0) - (before.engine_cpu_s or 0)) / seconds
    redis = ((after.redis_cpu_s or 0) - (before.redis_cpu_s or 0)) / seconds
    calls = {
        name: round((count - before.redis_calls.get(name, (0, 0))[0]) / seconds, 1)
        for name, (count, _) in after.redis_calls.items()
    }
    print(
        f"{args.jobs} jobs waiting: node {node:.2%} and Redis {redis:.2%} of a core, "
        f"{grown / seconds / 1024:.1f} KiB of log a second, "
        f"node {(after.engine_bytes or 0) / 2**20:.0f} MiB, "
        f"Redis {(after.redis_bytes or 0) / 2**20:.0f} MiB"
    )
    print("calls a second:", _busiest(calls))
    return int(node + redis > CPU_MOST or grown / seconds > LOG_MOST)


def _busiest(calls: Mapping[str, float]) -> str:
    first = sorted(calls.items(), key=lambda call: -call[1])[:12]
    return ", ".join(f"{name} {rate}" for name, rate in first)


async def _submit(engine: Contestant, count: int) -> None:
    headers = {"Authorization": f"Bearer {engine.credentials.service('idle-orders')}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def post(number: int) -> None:
            body = {
                "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
                "dropoff": {**HOME, "name": "Ada", "address": "1 Main St", "contact": "555"},
                "external_id": f"idle-{number:06}",
            }
            async with turn:
                answer = await http.post(
                    f"{engine.urls[0]}/v1/jobs",
                    json=body,
                    headers={"Idempotency-Key": f"idle-{number:06}"},
                )
            answer.raise_for_status()

        await asyncio.gather(*map(post, range(count)))


def _log_bytes(engine: Contestant) -> int:
    """Return the size of Redis's append-only files."""
    folder = engine.folder / "appendonlydir"
    return sum(file.stat().st_size for file in folder.iterdir())
