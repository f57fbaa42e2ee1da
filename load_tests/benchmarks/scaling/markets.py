"""Measures what idle markets cost: nodes and Redis, by the number of nodes.

    python -m load_tests.benchmarks.scaling.markets --markets 1000 --nodes 1 10

Nothing happens in these markets: no drivers, no jobs, no readers. All nodes serve all of them.
"""

import argparse
import json
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from load_tests.meters import Meters, calls_between, usage
from load_tests.swarm.flags import ENGINE
from load_tests.users.tables import table
from mallard_engine.charts import three_digits
from mallard_engine.workload.nodes import running_nodes, running_redis

# Until the work of the start is over: caches, leases, the first inspection.
_SETTLES_S: Final = 5.0
# Until nodes without drivers are at rest; see `dispatch/leases.py`.
RESTS_S: Final = 12.0
# Until such nodes share their moments as well; see `tasks.move_turns`.
_SHARES_MOMENTS_S: Final = 22.0
_DEGREES: Final = 0.1


class IdleCost(NamedTuple):
    """Shares of a core in percent: a node on average, and Redis; and what Redis runs a second.

    ``scripts`` of all nodes; ``looks``: commands by which scripts look at markets.
    """

    node: float
    redis: float
    scripts: float
    looks: float


def idle_cost(
    markets: int, nodes: int, seconds: float, *, settles_s: float = _SETTLES_S
) -> IdleCost:
    """Measure so many idle markets on so many nodes."""
    with tempfile.TemporaryDirectory(prefix="mallard-bench-") as name:
        folder = Path(name)
        places = folder / "places"
        places.mkdir()
        for number in range(markets):
            (places / f"market-{number}.toml").write_text(_market(number))
        environment = {
            **ENGINE,
            "MALLARD_SECRET": secrets.token_hex(32),
            "MALLARD_PLACES": str(places),
        }
        with (
            running_redis(folder) as redis,
            running_nodes(nodes, folder, environment, redis=redis) as running,
        ):
            meters = Meters([node.pid for node in running], redis=redis, metrics=())
            time.sleep(settles_s)
            before = meters.opening()
            time.sleep(seconds)
            after = meters.closing()
    used = usage(before, after)
    engine, own = used.engine_cpu or 0.0, used.redis_cpu or 0.0
    return IdleCost(
        engine / nodes * 100,
        own * 100,
        calls_between(before, after, "evalsha") / used.seconds,
        calls_between(before, after, "zcount", "exists") / used.seconds,
    )


def _market(number: int) -> str:
    """Return the places file of a market with one mall."""
    lat, lon = 30.0 + number % 30, -120.0 + number // 30

    def square(half: float) -> str:
        corners = ((-half, -half), (half, -half), (half, half), (-half, half))
        return json.dumps([[lon + east, lat + north] for east, north in corners])

    return f"""
id = "market-{number}"
name = "Market {number}"
source = "Invented."
area = {square(_DEGREES)}

[[malls]]
id = "mall-{number}"
name = "Mall {number}"
source = "Invented."
lat = {lat}
lon = {lon}
time_zone = "America/Phoenix"
floors = 1
hours = {{ mon-sun = "10:00-21:00" }}
outline = {square(0.001)}
gates = [
  {{ id = "south", lat = {lat - 0.001}, lon = {lon} }},
  {{ id = "north", lat = {lat + 0.001}, lon = {lon} }},
]
stores = [{{ id = "books", name = "Books", gate = "south", floor = 1, walk_s = 60 }}]
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks.scaling.markets", description=__doc__
    )
    parser.add_argument("--markets", type=int, default=1000, help="(%(default)d)")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10], help="(1 10)")
    parser.add_argument("--seconds", type=float, default=20.0, help="each (%(default)g)")
    options = parser.parse_args(arguments)
    rows = []
    for nodes in options.nodes:
        cost = idle_cost(options.markets, nodes, options.seconds, settles_s=_SHARES_MOMENTS_S)
        rows.append((str(nodes), *map(three_digits, (*cost, cost.node + cost.redis))))
    columns = (
        *("nodes", "a node, % of a core", "Redis, %"),
        *("scripts a second", "looks a second", "a node and Redis, %"),
    )
    print(table(f"{options.markets} idle markets", columns, rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
