"""Flags, settings and places that several commands share."""

import argparse
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from mallard_engine.config.settings import ConfigError, Settings, load_settings
from mallard_engine.core.places.markets import Market, Places, PlacesError
from mallard_protocol.codes import SANDBOX_MARKET
from mallard_protocol.fields import ID_PATTERN

PLACES_VARIABLE = "MALLARD_PLACES"

N = TypeVar("N", int, float)
_ID: Final = re.compile(ID_PATTERN)
_WORDS: Mapping[object, str] = {int: "whole number", float: "number"}


def number(kind: type[N], low: N, high: N) -> Callable[[str], N]:
    """Return an argparse type for numbers from `low` to `high`, both included."""

    def read(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a {_WORDS[kind]} from {low:,.12g} to {high:,.12g}"
            )
        return value

    return read


def identifier(text: str) -> str:
    """Check an id or the name of a token's holder; an argparse type."""
    if not _ID.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1-64 of A-Z a-z 0-9 _ . : -")
    return text


def interrupt_on_sigterm() -> None:
    """Make SIGTERM end a command like Ctrl-C, so that it stops the processes it started."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, `--redis` and `--data`."""
    parser.add_argument("--config", metavar="FILE", help="settings in a TOML file")
    parser.add_argument(
        "--redis",
        metavar="URL",
        dest="redis_url",
        help="address of a Redis that nodes may share (default: an embedded server in the data "
        "folder)",
    )
    parser.add_argument("--data", metavar="DIR", help="the data folder (default: .mallard)")


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings; flags override variables, the file and the defaults, in this order.

    Raises:
        ConfigError: A setting is invalid.
    """
    names = ("host", "port", "config", "redis_url", "data", "archive_files", "archive_postgres")
    return load_settings({name: getattr(args, name, None) for name in names})


def places_of(settings: Settings, *, opening_hours: bool = True) -> Places:
    """Return the places that the settings name.

    Args:
        opening_hours: Whether to apply opening hours; without them, every place is always open.

    Raises:
        ConfigError: The places are invalid, or the settings name a market that does not exist.
    """
    try:
        own = [settings.places] if settings.places else None
        places = Places.load(
            own,
            opening_hours=opening_hours and not settings.always_open,
            sandbox=settings.has_sandbox,
        )
    except PlacesError as error:
        raise ConfigError(f"places: {error}") from error
    for market in settings.markets:
        market_named(market, places)
    return places


def places_named(*, opening_hours: bool = True) -> Places:
    """Return the places that `MALLARD_PLACES` names, for commands without other settings.

    Raises:
        ConfigError: The places are invalid.
    """
    named = {name: value for name, value in os.environ.items() if name == PLACES_VARIABLE}
    return places_of(load_settings({}, named), opening_hours=opening_hours)


def market_named(name: str, places: Places) -> Market:
    """Return the market with this id. Raises `ConfigError` with the known ids."""
    if name not in places.markets:
        known = ", ".join(places.markets)
        hint = "; MALLARD_SANDBOX=on adds it" if name == SANDBOX_MARKET else ""
        raise ConfigError(f"there is no market {name!r}: there are {known}{hint}")
    return places.markets[name]
