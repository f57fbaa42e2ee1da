"""The command line `mallard COMMAND …`.

Exit status: 0 success, 2 wrong usage or configuration, 1 any other failure. An error of the caller
is one line on standard error; a traceback is a bug. Each module of `commands/` is a command, with
`add_parser` and `run`. No dependency of the engine is imported before `main` runs, so an incomplete
installation is reported as such.
"""

import argparse
import importlib
import io
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

_FIRST_PARTY: Final = ("mallard_client", "mallard_engine", "mallard_protocol")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Escape characters that the terminal cannot show instead of failing on them.
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interruptible():
            status = _run(argv)
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does.
        _drop_output()
        return 1
    except KeyboardInterrupt:
        return _failed("interrupted", 1)
    except RecursionError:
        return _failed("the input is nested too deeply", 2)
    except UnicodeError as error:
        return _failed(f"text that cannot be read or written: {error}", 2)
    except OSError as error:
        return _failed(_described(error), 1)
    return status


def _run(argv: Sequence[str] | None) -> int:
    try:
        bounded = importlib.import_module("mallard_engine.core.bounded")
        arguments = sys.argv[1:] if argv is None else argv
        args = build_parser(arguments).parse_args(arguments)
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if top in _FIRST_PARTY:
            raise
        return _failed(f"there is no module {top}: pip install mallard-engine", 1)
    try:
        status: int = args.run(args)
    except bounded.ConfigError as error:
        return _failed(str(error), 2)
    return status


def _failed(message: str, status: int) -> int:
    with suppress(OSError):
        print(f"mallard: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return status


def _described(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _drop_output() -> None:
    """Redirect standard output to the null device, so that the last flush cannot fail."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), sys.stdout.fileno())


@contextmanager
def _interruptible() -> Iterator[None]:
    """Handle SIGINT even if a shell started the command in the background with it ignored."""
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not is_ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser for the command that `argv` names, or for all commands if it names none.

    Importing all commands takes 1.5 s of CPU, mostly for libraries that a single command needs.
    """
    commands = importlib.import_module("mallard_engine.cli.commands")
    parser = argparse.ArgumentParser(
        prog="mallard", description="Real-time dispatch of drivers for pick-ups at malls."
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    for name in argv[:1] if argv and argv[0] in names else names:
        _add(subparsers, importlib.import_module(f"{commands.__name__}.{name}"))
    return parser


def _add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", module: object) -> None:
    """Add the command of a module, and make its `run` the command's action."""
    before = set(subparsers.choices)
    module.add_parser(subparsers)  # type: ignore[attr-defined]
    for name in set(subparsers.choices) - before:
        subparsers.choices[name].set_defaults(run=module.run)  # type: ignore[attr-defined]
