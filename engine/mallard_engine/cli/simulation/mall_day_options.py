"""The flags of a mall's day, ordinary or bad, and the scenario that they describe."""

import argparse
import os

from mallard_engine.cli.options import number, places_named
from mallard_engine.config.settings import ConfigError
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.simulation.scenario import Scenario
from mallard_engine.simulation.scenario_policy import policy_over
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.workload.bad_day.events import MEANINGS, BadDay
from mallard_engine.workload.bad_day.spec import BadDayError, read_bad_day
from mallard_engine.workload.demand import Demand, load_zips

_MALL = "chandler-fashion-center"
_EVENTS = "; ".join(f"{event} ({text})" for event, text in MEANINGS.items())


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


def add_bad_day_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--bad-day`."""
    parser.add_argument(
        "--bad-day",
        nargs="?",
        const="",
        metavar="SHARES",
        help="let things go wrong: without a value the default shares, by which one order and one "
        "run in ten have an event; else NAME=SHARE,… or a TOML file with a [bad_day] table. "
        f"Events: {_EVENTS}".replace("%", "%%"),
    )


def bad_day_of(args: argparse.Namespace, seed: int) -> BadDay | None:
    """Return the bad day that the flag describes. Raises `ConfigError`."""
    if args.bad_day is None:
        return None
    try:
        return read_bad_day(args.bad_day, seed)
    except BadDayError as error:
        raise ConfigError(f"--bad-day {error}") from error
