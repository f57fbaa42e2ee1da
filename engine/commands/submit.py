"""`mallard submit`: posts the jobs of a file, one JSON document or one job a line."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clients import OrderClientSync
from clients.errors import ApiProblem, BadAnswer, Unreachable
from engine.commands.options import add_settings_flags, number, settings_of
from engine.config import ConfigError
from engine.gateway.auth import Tokens
from engine.gateway.token_keys import load_token_keys
from protocol.codes import MAX_WAIT_S, Role

_TOKEN_TTL_S: Final = 3600


def add_parser(subparsers: Any) -> None:
    """Add `submit`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "submit", help="post the jobs of a file and print their ids"
    )
    parser.add_argument(
        "file", metavar="FILE", help="a job, a list of jobs, or one job a line; -: standard input"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the engine")
    parser.add_argument(
        "--service", default="cli", metavar="NAME", help="whose jobs they are (default: cli)"
    )
    parser.add_argument(
        "--wait-s",
        type=number(int, 1, MAX_WAIT_S),
        metavar="S",
        help=f"wait so long for each one's driver (at most {MAX_WAIT_S})",
    )
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print id and state of each job. Exit status 1 when one was refused or nobody answered."""
    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text("utf-8")
        jobs = read_jobs(text)
    except OSError as error:
        raise ConfigError(f"{args.file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{args.file}: {error}") from error
    tokens = Tokens(load_token_keys(settings_of(args)))
    token = tokens.mint(args.service, Role.ORDERS, ttl_s=_TOKEN_TTL_S)
    refused = 0
    try:
        client = OrderClientSync(args.url, token)
    except ValueError as error:
        raise ConfigError(f"--url: {error}") from error
    with client as orders:
        for number, asked in enumerate(jobs, 1):
            try:
                job = orders.submit(asked, wait_s=args.wait_s)
            except ApiProblem as problem:
                refused += 1
                print(f"job {number}: {_told(problem)}", file=sys.stderr)
            except (BadAnswer, Unreachable) as error:
                print(f"job {number}: {error}", file=sys.stderr)
                return 1
            else:
                print(job.id, job.state)
    return 1 if refused else 0


def read_jobs(text: str) -> list[Mapping[str, object]]:
    """The jobs of a file. Raises `ValueError` for anything that is no JSON object."""
    try:
        document = json.loads(text)
    except ValueError:
        document = [json.loads(line) for line in text.splitlines() if line.strip()]
    jobs = document if isinstance(document, list) else [document]
    if not jobs or not all(isinstance(job, dict) for job in jobs):
        raise ValueError("no job in it: a job is a JSON object")
    return jobs


def _told(problem: ApiProblem) -> str:
    fields = "".join(f"\n  {error.pointer}: {error.detail}" for error in problem.errors)
    return f"{problem.status} {problem.code}{fields or f': {problem.detail}'}"
