"""The `mallard` command, which the engine brings along."""

import importlib.util
import sys


def main() -> int:
    """Run the engine's command line, or say what to install. Returns the exit status."""
    if importlib.util.find_spec("mallard_engine") is None:
        print("mallard: the engine is not installed: pip install mallard-engine", file=sys.stderr)  # noqa: T201 - a command
        return 1
    status: int = importlib.import_module("mallard_engine.cli.main").main()
    return status
