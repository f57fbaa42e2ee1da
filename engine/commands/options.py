"""The flags that name a node's settings, for every command that needs these."""

import argparse

from engine.config import Settings, load_settings


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, `--redis` and `--data`."""
    parser.add_argument("--config", metavar="FILE", help="settings in TOML")
    parser.add_argument(
        "--redis",
        metavar="URL",
        dest="redis_url",
        help="a Redis that nodes may share; without one, an embedded server in the data folder",
    )
    parser.add_argument("--data", metavar="DIR", help="the data folder (default: .mallard)")


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings: flags over variables over the file over defaults.

    Raises `ConfigError`.
    """
    names = ("host", "port", "config", "redis_url", "data")
    return load_settings({name: getattr(args, name, None) for name in names})
