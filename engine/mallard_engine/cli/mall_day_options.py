"""The flags of a mall's day, and the scenario that they describe."""

import argparse
import os

from mallard_engine.cli.options import number, places_named
from mallard_engine.config.settings import ConfigError
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.simulation.policy_overrides import policy_over
from mallard_engine.simulation.scenario import Scenario
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.workload.bad_day.events import BadDay
from mallard_engine.workload.demand import Demand, load_zips

_MALL = "chandler-fashion-center"


def add_mall_flags(source: argparse.ArgumentParser) -> None:
    """Add `--mall` and `--parcels`."""
    source.add_argument("--mall", default=_MALL, help=f"id of the mall (default: {_MALL})")
    source.add_argument(
        "--parcels",
        type=number(int, 1, 20_000),
        default=950,
        help="number of parcels (default: 950)",
    )


def add_drivers_flag(source: argparse.ArgumentParser) -> None:
    """Add `--drivers`."""
    source.add_argument(
        "--drivers",
        type=number(int, 1, 5_000),
        default=150,
        help="number of drivers (default: 150)",
    )


def policy_of(args: argparse.Namespace, usual: MarketPolicy | None = None) -> MarketPolicy:
    """Return a policy (None: of an ordinary day of a mall), overridden by the flags."""
    return policy_over(usual or mallday.default_policy(), args.policy, args.settings)


def mall_day(
    args: argparse.Namespace,
    policy: MarketPolicy,
    *,
    drivers: int,
    seed: int,
    bad_day: BadDay | None = None,
) -> tuple[Scenario, str]:
    """Return the day and the source of its drop-offs. Raises `ConfigError` for an unknown mall."""
    places = places_named(opening_hours=False)
    demand = Demand(places, load_zips(os.environ))
    if all(args.mall != catchment.mall.id for catchment in demand.catchments):
        known = ", ".join(catchment.mall.id for catchment in demand.catchments)
        raise ConfigError(f"--mall {args.mall}: not one of {known}")
    scenario = mallday.scenario_of(
        places,
        demand,
        policy,
        mall=args.mall,
        parcels=args.parcels,
        drivers=drivers,
        seed=seed,
        bad_day=bad_day,
    )
    return scenario, demand.source
