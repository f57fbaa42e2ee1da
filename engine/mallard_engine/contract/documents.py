"""Generates the contract's documents in `docs/contract`, and its types for TypeScript.

    python -m mallard_engine.contract.documents [--check]

The output is deterministic. With `--check` nothing is written, and the exit status is 1 if a file
is stale or missing.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from mallard_engine.contract.advice import ERROR_ADVICE, PROBLEMS
from mallard_engine.contract.asyncapi import asyncapi
from mallard_engine.contract.limits import HTTP_LIMITS, SOCKET_LIMITS, Limits
from mallard_engine.contract.meanings import (
    ANSWER_ACTION_MEANING,
    BARRED_MEANING,
    FIX_DROPPED_MEANING,
    JOB_REASON_MEANING,
    OFFER_CLOSED_MEANING,
    ON_MISSING_MEANING,
    ON_SHORT_MEANING,
    ON_UNDELIVERABLE_MEANING,
    SERVICE_LEVEL_MEANING,
    STATE_WHY_MEANING,
    WHY_NOT_MEANING,
)
from mallard_engine.contract.openapi import openapi
from mallard_engine.contract.transitions import DRIVER_TRANSITIONS, INITIAL, JOB_TRANSITIONS
from mallard_engine.contract.typescript import typescript
from mallard_engine.contract.webhooks import DISABLED_MEANING, ERROR_MEANING
from mallard_protocol.codes import CLOSE_ADVICE
from mallard_protocol.lifecycle import TERMINAL, DriverState, JobState, Outcome

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "contract"
# Relative to the folder of the documents.
TYPESCRIPT = "../../clients/typescript/src/contract.ts"
S = TypeVar("S", bound=str)
_GENERATED = "Generated from the contract's tables by `make docs`; do not edit.\n"


def documents() -> dict[str, str]:
    """Return the text of each file by its name."""
    http, socket = openapi(), asyncapi()
    return {
        "openapi.json": _json(http),
        "asyncapi.json": _json(socket),
        "job-states.md": job_states(),
        "driver-states.md": driver_states(),
        TYPESCRIPT: typescript(http, socket),
    }


def job_states() -> str:
    """Return a job's states as a diagram, with its causes, reasons, problem codes and limits."""
    arrows = [(source, t.target, t.cause) for t in JOB_TRANSITIONS for source in t.sources]
    return "\n".join(
        (
            "# The states of a job\n",
            _GENERATED,
            _diagram(INITIAL, arrows, TERMINAL, tuple(JobState)),
            "## Changes\n",
            _table(
                ("from", "to", "cause"),
                (
                    (_codes(s for s in JobState if s in t.sources), f"`{t.target}`", f"`{t.cause}`")
                    for t in JOB_TRANSITIONS
                ),
            ),
            "## Reasons\n",
            _meanings("reason", JOB_REASON_MEANING),
            "## How a driver's turn ends\n",
            _table(
                ("outcome", "asked again for that job"),
                (
                    (f"`{outcome}`", _ASKED_AGAIN.get(outcome, _ONLY_ASSIGNED))
                    for outcome in Outcome
                ),
            ),
            "## What an order and an answer may ask for\n",
            _meanings("service_level", SERVICE_LEVEL_MEANING),
            _meanings("on_short", ON_SHORT_MEANING),
            _meanings("on_missing", ON_MISSING_MEANING),
            _meanings("on_undeliverable", ON_UNDELIVERABLE_MEANING),
            _meanings("action", ANSWER_ACTION_MEANING),
            "## Why a driver would not be offered a job\n",
            _meanings("why_not", WHY_NOT_MEANING),
            "## Why an endpoint of webhooks is disabled, or a delivery failed\n",
            _meanings("disabled_reason", DISABLED_MEANING),
            _meanings("error", ERROR_MEANING),
            "## Problem codes of the order API\n",
            _table(
                ("status", "code", "title", "try again"),
                (
                    (str(kind.status), f"`{code}`", kind.title, _yes(kind.retry))
                    for code, kind in PROBLEMS.items()
                ),
            ),
            "## Limits of the order API\n",
            _limits(HTTP_LIMITS),
        )
    )


def driver_states() -> str:
    """Return a driver's shown states as a diagram, with the socket's codes, reasons and limits."""
    arrows = [(t.source, t.target, t.cause) for t in DRIVER_TRANSITIONS]
    return "\n".join(
        (
            "# The states of a driver\n",
            _GENERATED,
            _diagram(frozenset({DriverState.OFFLINE}), arrows, frozenset(), tuple(DriverState)),
            "## Changes\n",
            _table(
                ("from", "to", "cause"),
                ((f"`{t.source}`", f"`{t.target}`", t.cause) for t in DRIVER_TRANSITIONS),
            ),
            "## Why an offer is closed\n",
            _meanings("why", OFFER_CLOSED_MEANING),
            "## Why the server sends the state\n",
            _meanings("why", STATE_WHY_MEANING),
            "## Why a driver gets no offers\n",
            _meanings("why", BARRED_MEANING),
            "## Why a position fix is dropped\n",
            _meanings("why", FIX_DROPPED_MEANING),
            "## Error codes\n",
            _table(
                ("code", "meaning", "try again"),
                (
                    (f"`{code}`", advice.meaning, _yes(advice.retry))
                    for code, advice in ERROR_ADVICE.items()
                ),
            ),
            "## Close codes\n",
            _table(
                ("code", "meaning", "connect again"),
                (
                    (str(int(code)), advice.meaning, _yes(advice.retry))
                    for code, advice in CLOSE_ADVICE.items()
                ),
            ),
            "## Limits of the socket\n",
            _limits(SOCKET_LIMITS),
        )
    )


_ONLY_ASSIGNED = "no; an operator may assign it"
_ASKED_AGAIN = {
    Outcome.ACCEPTED: "it holds the job",
    Outcome.DECLINED: "after 30 min at most; sooner if the job is urgent",
    Outcome.EXPIRED: "after 5 min at most; sooner if the job is urgent",
    Outcome.UNACKNOWLEDGED: "after 60 s at most; sooner if the job is urgent",
    Outcome.WITHDRAWN: "yes",
    Outcome.HELD: "yes",
}


def _diagram(
    first: frozenset[S],
    arrows: Iterable[tuple[S, S, str]],
    last: frozenset[S],
    order: tuple[S, ...],
) -> str:
    causes: dict[tuple[S, S], list[str]] = {}
    for source, target, cause in arrows:
        causes.setdefault((source, target), []).append(cause)
    ordered = sorted(causes, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    lines = [f"    [*] --> {state}" for state in order if state in first]
    lines += [f"    {a} --> {b}: {' / '.join(causes[a, b])}" for a, b in ordered]
    lines += [f"    {state} --> [*]" for state in order if state in last]
    return "\n".join(("```mermaid", "stateDiagram-v2", *lines, "```", ""))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _meanings(head: str, meanings: Mapping[S, str]) -> str:
    return _table((head, "meaning"), ((f"`{code}`", text) for code, text in meanings.items()))


def _limits(limits: Limits) -> str:
    return _table(
        ("limit", "value", "of what"),
        ((f"`{name}`", f"{value:,}", meaning) for name, value, meaning in limits),
    )


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _yes(flag: bool) -> str:  # noqa: FBT001 - private, one argument
    return "yes" if flag else "no"


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the files, or with `--check` name the stale ones. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mallard_engine.contract.documents", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when stale")
    check = parser.parse_args(arguments).check
    stale = [
        name
        for name, text in documents().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    if check:
        sys.stderr.writelines(f"stale: {name}; run `make docs`\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(documents()[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
