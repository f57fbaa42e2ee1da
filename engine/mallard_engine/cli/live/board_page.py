"""How a board looks: lines of text that fit a terminal, or one line for a log."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from mallard_engine.cli.live.board import KINDS, OPEN_STATES, Board, Finding
from mallard_engine.cli.live.tables import age, clock, duration, table
from mallard_protocol.control import NodeState

_DRIVERS: Final = ("available", "offered", "on_run", "paused", "offline", "no socket")
_GOOD_END: Final = "delivered"
_MOST_NODES: Final = 6
_HEAD: Final = ["EXCEPTION", "ID", "WHAT", "STATE, DRIVER", "MALL", "EXTERNAL ID"]
_LABEL: Final = 10
_GAP: Final = "  "
NO_ANSWER: Final = "NO ANSWER"
# Enough rows for a person; a log gets all of them.
_ROWS: Final = 1_000


def page(
    board: Board, now: datetime, width: int | None = None, height: int | None = None
) -> list[str]:
    """Return the lines of the page, none longer than `width`, not more than `height`."""
    head = [_title(board, now), *_facts(board, now)]
    findings = board.findings(now)
    counted = _counted(Counter(it.kind for it in findings), KINDS)
    head += ["", _fact("EXCEPTIONS", counted or "none")]
    room = _ROWS if height is None else max(0, height - len(head) - 2)
    lines = [*head, *_rows(findings, room)] if findings else head
    lines = lines if height is None else lines[:height]
    return lines if width is None else [_cut(each, width) for each in lines]


def line(board: Board, now: datetime) -> str:
    """Return the board in one line, for a log."""
    jobs = _counted(board.counts(), OPEN_STATES, ", ") or "none open"
    drivers = _counted(board.drivers, _DRIVERS, ", ") or "none"
    found = Counter(it.kind for it in board.findings(now))
    nodes = Counter(node.state for node in board.nodes)
    rates = ", ".join(f"{_figure(rate)} {name}" for name, rate in board.rates(now).items() if rate)
    parts = [
        f"jobs: {jobs}",
        f"drivers: {drivers}",
        f"a minute: {rates or 'nothing'}",
        f"nodes: {_counted(nodes, tuple(NodeState), ', ') or 'none'}",
        f"exceptions: {_counted(found, KINDS, ', ') or 'none'}",
    ]
    if board.silent_since is not None:
        parts.insert(0, _trouble(board, now))
    return f"{clock(now)} {board.market}: {'; '.join(parts)}"


def finding_line(finding: Finding, now: datetime) -> str:
    """Return an exception in one line, for a log."""
    words = (
        finding.kind,
        finding.what,
        finding.about,
        finding.id,
        finding.where,
        finding.external_id,
    )
    return f"{clock(now)} {' | '.join(word for word in words if word)}"


def _title(board: Board, now: datetime) -> str:
    state = "live" if board.silent_since is None else _trouble(board, now)
    return f"mallard watch  {board.market}  {clock(now)}  {state}"


def _trouble(board: Board, now: datetime) -> str:
    since = board.silent_since or now
    return f"{NO_ANSWER} for {age(since, now)}: {board.trouble}"


def _facts(board: Board, now: datetime) -> Iterator[str]:
    ended = ", ".join(
        f"{count} {state}" for state, count in sorted(board.ended.items(), key=_by_end)
    )
    rates = _GAP.join(f"{_figure(rate)} {name}" for name, rate in board.rates(now).items())
    yield _fact("JOBS", _counted(board.counts(), OPEN_STATES) or "none open")
    yield _fact("ENDED", f"{ended or 'none'} since {clock(board.began)}")
    yield _fact("DRIVERS", _counted(board.drivers, _DRIVERS) or "none")
    yield _fact("A MINUTE", rates)
    gone = (NodeState.STOPPED,)
    nodes = [node for node in board.nodes if node.state not in gone]
    for number, node in enumerate(nodes[:_MOST_NODES]):
        up = duration((now - node.started_at).total_seconds())
        place = node.address.rpartition("//")[2]
        text = f"{node.id}  {place}  {node.state}  {node.drivers} drivers  up {up}"
        yield _fact("NODES" if not number else "", text)
    if len(nodes) > _MOST_NODES:
        yield _fact("", f"and {len(nodes) - _MOST_NODES} more")


def _figure(rate: float) -> str:
    return f"{rate:.1f}" if 0 < rate < 10 else f"{rate:.0f}"


def _by_end(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != _GOOD_END, item[0]


def _rows(findings: list[Finding], room: int) -> Iterator[str]:
    """Yield as many exceptions as there is room for; the last line says how many there are more."""
    shown = findings if len(findings) <= room else findings[: max(0, room - 1)]
    rows = [[it.kind, it.id, it.what, it.about, it.where, it.external_id] for it in shown]
    if rows:
        yield from table(_HEAD, rows)
    if left := len(findings) - len(shown):
        yield f"and {left} more: mallard list alerts, mallard list jobs"


def _fact(name: str, text: str) -> str:
    return f"{name:<{_LABEL}}{_GAP}{text}"


def _counted(counts: Mapping[str, int], order: tuple[str, ...], gap: str = _GAP) -> str:
    known = [name for name in order if counts.get(name)]
    others = sorted(name for name, count in counts.items() if count and name not in order)
    return gap.join(f"{counts[name]} {name}" for name in (*known, *others))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"
