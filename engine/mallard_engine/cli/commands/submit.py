"""`mallard submit`: post the jobs of a file, which is one JSON document or has one job per line."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from mallard_client import OrderClientSync
from mallard_client.errors import ApiProblem, BadAnswer, ClientError, Unreachable
from mallard_engine.cli.live.following import failures, follow
from mallard_engine.cli.options import add_settings_flags, identifier, number, settings_of
from mallard_engine.config.settings import ConfigError
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.input_files import InputError, numbered_lines, parse_json, quoted, read_text
from mallard_protocol.codes import MAX_WAIT_S, Role

_TOKEN_TTL_S: Final = 3600
# Longer than jobs last: a stream ends with its token.
_WATCH_TOKEN_TTL_S: Final = 30 * 86_400


def add_parser(subparsers: Any) -> None:
    """Add `submit`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "submit", help="post the jobs in a file and print their ids"
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a job, a list of jobs, or one job per line; - reads standard input",
    )
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="address of the engine (default: http://127.0.0.1:8000)",
    )
    parser.add_argument(
        "--service",
        type=identifier,
        default="cli",
        metavar="NAME",
        help="service that owns the jobs (default: cli)",
    )
    parser.add_argument(
        "--wait-s",
        type=number(int, 1, MAX_WAIT_S),
        metavar="S",
        help=f"seconds to wait for a driver of each job (at most {MAX_WAIT_S})",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="follow the jobs to their ends and print what happens; exit status 1 unless all are "
        "delivered",
    )
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Post the jobs and print ids and states.

    Exit status 1 if one was refused or unanswered, or, with `--watch`, not delivered.
    """
    name = "standard input" if args.file == "-" else args.file
    jobs = read_jobs(read_text(args.file), name)
    tokens = Tokens(load_token_keys(settings_of(args)))
    ttl_s = _WATCH_TOKEN_TTL_S if args.watch else _TOKEN_TTL_S
    token = tokens.mint(args.service, Role.ORDERS, ttl_s=ttl_s)
    refused = 0
    posted = []
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
                print(f"job {number}: {_problem_text(problem)}", file=sys.stderr)
            except (BadAnswer, Unreachable) as error:
                print(f"job {number}: {error}", file=sys.stderr)
                return 1
            else:
                posted.append(job.id)
                try:
                    # Flush, so that a pipe's reader knows of each posted job whatever follows.
                    print(job.id, job.state, flush=True)
                except BrokenPipeError:
                    print(
                        f"mallard: the output was closed: stopped after job {number} of "
                        f"{len(jobs)}, which is posted",
                        file=sys.stderr,
                    )
                    raise
    if args.watch and posted:
        refused += _watch(args.url, token, posted)
    return 1 if refused else 0


def _watch(url: str, token: str, jobs: list[str]) -> int:
    """Follow the jobs to their ends; return how many were not delivered or are unknown."""
    try:
        states = asyncio.run(follow(url, token, jobs))
    except KeyboardInterrupt:
        print(f"mallard: no longer watching; the jobs continue: {' '.join(jobs)}", file=sys.stderr)
        return len(jobs)
    except ClientError as error:
        print(f"mallard: {error}", file=sys.stderr)
        return len(jobs)
    missed = failures(states)
    for job in missed:
        print(f"{job}: ended as {states[job]}", file=sys.stderr)
    return len(missed)


def read_jobs(text: str, name: str = "the text") -> list[Mapping[str, object]]:
    """Read the jobs of a file: one document, or one job per line if the first line is a whole job.

    Raises:
        InputError: A job is not a JSON object, or an external id occurs twice.
    """
    lines = list(numbered_lines(text))
    found: list[tuple[str, Any]]
    if len(lines) > 1 and _is_whole(lines[0][1]):
        found = [
            (where, parse_json(line, where))
            for number, line in lines
            for where in (f"{name}, line {number}",)
        ]
    else:
        document = parse_json(text, name) if lines else []
        items = document if isinstance(document, list) else [document]
        found = [(f"{name}, job {number}", item) for number, item in enumerate(items, 1)]
    if not found:
        raise InputError(f"{name}: there is no job in it")
    seen: dict[str, str] = {}
    for where, job in found:
        if not isinstance(job, dict):
            raise InputError(f"{where}: a job is a JSON object, and this is not one")
        external_id = job.get("external_id")
        if isinstance(external_id, str) and seen.setdefault(external_id, where) != where:
            raise InputError(f"{where}: external_id: {quoted(external_id)} is in the file already")
    return [job for _, job in found]


def _is_whole(line: str) -> bool:
    """Return whether the line is a complete JSON text."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _problem_text(problem: ApiProblem) -> str:
    fields = "".join(f"\n  {error.pointer}: {error.detail}" for error in problem.errors)
    return f"{problem.status} {problem.code}{fields or f': {problem.detail}'}"
