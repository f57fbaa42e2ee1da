"""The command line: `mallard COMMAND …`. Exit status 0 fine, 2 usage or configuration, 1 else."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from engine import commands
from engine.config import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except ConfigError as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mallard", description="Finds a driver for every mall pick-up."
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        if hasattr(module, "add_parser"):
            _add(subparsers, module)
    return parser


def _add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", module: object) -> None:
    """Let a module add its command, and run it when that is asked for."""
    before = set(subparsers.choices)
    module.add_parser(subparsers)  # type: ignore[attr-defined]
    for name in set(subparsers.choices) - before:
        subparsers.choices[name].set_defaults(run=module.run)  # type: ignore[attr-defined]
