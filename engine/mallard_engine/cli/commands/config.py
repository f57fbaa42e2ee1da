"""`mallard config check`: print the settings that a node would use, or the first error."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from mallard_engine.cli.options import add_settings_flags, places_of, settings_of
from mallard_engine.cli.redis_url import check_url
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.metrics import Metrics
from mallard_engine.travel.sources import travel_sources

_SECRETS: Final = ("secret", "second_secret", "redis_url")


def add_parser(subparsers: Any) -> None:
    """Add `config check`."""
    parser: argparse.ArgumentParser = subparsers.add_parser("config", help="check the settings")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="check and print the settings and the places")
    add_settings_flags(check)
    check.add_argument("--host", help=argparse.SUPPRESS)
    check.add_argument("--port", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Print the settings without secrets. Raises `ConfigError` if a node would not start."""
    settings = settings_of(args)
    if settings.has_token_key:  # otherwise a node creates a key, which a check must not do
        load_token_keys(settings)
    check_url(settings)
    places = places_of(settings)
    travel_sources(settings, places, Metrics())
    for name, value in _shown(settings):
        print(f"{name} = {value}")
    print(f"markets: {', '.join(places.markets)}; {len(places.malls)} malls")
    return 0


def _shown(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for item in dataclasses.fields(values):
        name, value = f"{prefix}{item.name}", getattr(values, item.name)
        if dataclasses.is_dataclass(value):
            yield from _shown(value, f"{name}.")
        elif item.name == "markets":
            for market, policy in value.items():
                yield from _shown(policy, f"markets.{market}.")
        elif item.name in _SECRETS:
            yield name, "(not set)" if value is None else "(set)"
        elif isinstance(value, tuple):
            yield name, ", ".join(map(str, value)) or "(none)"
        else:
            yield name, "(not set)" if value is None else str(value)
