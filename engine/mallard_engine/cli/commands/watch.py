"""`mallard watch`: follow a market live."""

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mallard_client import OperatorClient
from mallard_client.errors import ApiProblem, CallFailed
from mallard_engine.cli.live.board import OPEN_STATES, Board
from mallard_engine.cli.live.board_page import NO_ANSWER, finding_line, line, page
from mallard_engine.cli.live.engine import PATIENCE, add_engine_flags, call_engine
from mallard_engine.cli.options import number
from mallard_engine.config.settings import ConfigError
from mallard_protocol.codes import MAX_PAGE, ProblemCode
from mallard_protocol.events import EventType

_TOKEN_TTL_S: Final = 30 * 86_400
_EVERY_S: Final = 10.0
_MOST_S: Final = 3600
_DRAW_S: Final = 1.0
# How often the data that no event reports is listed.
_NODES_S: Final = 2.0
_DRIVERS_S: Final = 5.0
_ALERTS_S: Final = 30.0
# Jobs that were submitted longer ago appear with their next event.
_LISTED: Final = timedelta(hours=48)
# Covers changes while the stream was being opened.
_OPENING: Final = timedelta(seconds=15)
_OPENED_S: Final = 5.0
# By the first word of a line.
_STYLES: Final = {
    "mallard": "bold",
    "EXCEPTIONS": "bold",
    "EXCEPTION": "dim",
    "alert": "bold red",
    "late": "red",
    "at_risk": "yellow",
}
_ALERT_TYPES: Final = frozenset({EventType.ALERT_RAISED, EventType.ALERT_ACKNOWLEDGED})


def add_parser(subparsers: Any) -> None:
    """Add `watch`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "watch",
        help="follow a market live: jobs, exceptions, drivers, nodes",
        description="Shows jobs by state, what needs a person first (alerts, jobs that are late or "
        "at risk, held, or without a driver for a minute), drivers, nodes and rates. It follows "
        "the market's events and reconnects by itself, until interrupted. If its output is not a "
        "terminal, it prints a line every --every-s seconds and one for each new exception.",
    )
    parser.add_argument(
        "--market", metavar="M", help="the market (default: the only one, if there is one)"
    )
    parser.add_argument("--once", action="store_true", help="print the page once and exit")
    parser.add_argument(
        "--every-s",
        type=number(float, 1, _MOST_S),
        default=_EVERY_S,
        metavar="S",
        help=f"seconds between two lines without a terminal (default: {_EVERY_S:g})",
    )
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Watch. Exit status 0 once interrupted; 1 or 2 if the first calls of the engine fail."""

    def calls(url: str, token: str) -> int:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch(url, token, args))
        return 0

    return call_engine(args, calls, ttl_s=_TOKEN_TTL_S)


async def _watch(url: str, token: str, args: argparse.Namespace) -> None:
    async with OperatorClient(url, token, **PATIENCE) as engine:
        market = await _market(engine, args.market)
        feed = _Feed(engine, Board(market, _now()))
        await feed.read_all()
        if args.once:
            print("\n".join(page(feed.board, _now())))
            return
        console = Console()
        show = _on_screen(console) if console.is_terminal else _in_lines(args.every_s)
        work = (feed.follow(), feed.poll(), show(feed.board))
        follow = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(follow, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in follow:
                task.cancel()
            await asyncio.gather(*follow, return_exceptions=True)


async def _market(engine: OperatorClient, name: str | None) -> str:
    markets = [it.id for it in await engine.markets()]
    if name is None and len(markets) == 1:
        return markets[0]
    if name not in markets:
        said = f"there is no market {name!r}" if name else "name a market with --market"
        raise ConfigError(f"{said}: there are {', '.join(markets)}")
    return str(name)


@dataclass(slots=True)
class _Feed:
    """Feeds a board from an engine."""

    engine: OperatorClient
    board: Board
    # Set when an event says that the alerts have changed.
    alerts_changed: asyncio.Event = field(default_factory=asyncio.Event)
    # Whether events may have been missed.
    has_gap: bool = False

    async def read_all(self) -> None:
        """List everything. Raises `CallFailed`."""
        await self._jobs()
        await self._nodes()
        await self._drivers()
        await self._alerts()

    async def follow(self) -> None:
        """Follow the events for ever; after a gap, have the jobs listed again."""
        while True:
            try:
                async for event in self.engine.events(self.board.market):
                    self._answers()
                    self.board.apply(event)
                    if event.type in _ALERT_TYPES:
                        self.alerts_changed.set()
                    if event.type == EventType.MARKET_REWOUND:
                        self.has_gap = True
            except ApiProblem as problem:
                if problem.code != ProblemCode.EVENTS_TRIMMED:
                    raise
                self.has_gap = True

    async def poll(self) -> None:
        """Poll what has no events; after a gap, also the jobs."""
        clock = asyncio.get_running_loop().time
        opened_s: float | None = clock() + _OPENED_S
        due = {self._nodes: 0.0, self._drivers: 0.0, self._alerts: 0.0}
        every = {self._nodes: _NODES_S, self._drivers: _DRIVERS_S, self._alerts: _ALERTS_S}
        while True:
            if self.alerts_changed.is_set():
                self.alerts_changed.clear()
                due[self._alerts] = 0.0
            if self.has_gap:
                self.has_gap = False
                await self._unless_away(self._jobs)
                opened_s = clock() + _OPENED_S
            for read, again_s in every.items():
                if clock() >= due[read]:
                    await self._unless_away(read)
                    due[read] = clock() + again_s
            if opened_s is not None and clock() >= opened_s:
                opened_s = None
                await self._unless_away(self._changed_jobs)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.alerts_changed.wait(), _DRAW_S)

    async def _unless_away(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except CallFailed as failure:
            if isinstance(failure, ApiProblem) and failure.code and failure.status < 500:
                raise
            self.board.trouble = str(failure)
            self.board.silent_since = self.board.silent_since or _now()
        else:
            self._answers()

    def _answers(self) -> None:
        self.board.silent_since, self.board.trouble = None, ""

    async def _jobs(self) -> None:
        found = [
            job
            async for job in self.engine.jobs(
                market=self.board.market,
                state=OPEN_STATES,
                created_from=_now() - _LISTED,
                limit=MAX_PAGE,
            )
        ]
        self.board.add_jobs(found, all_of_them=True)

    async def _changed_jobs(self) -> None:
        since = _now() - _OPENING
        jobs = self.engine.jobs(
            market=self.board.market,
            created_from=_now() - _LISTED,
            updated_since=since,
            limit=MAX_PAGE,
        )
        self.board.add_jobs([job async for job in jobs])

    async def _nodes(self) -> None:
        self.board.nodes = await self.engine.nodes()

    async def _drivers(self) -> None:
        self.board.set_drivers(await self.engine.drivers(self.board.market))

    async def _alerts(self) -> None:
        found = await self.engine.alerts(state="open", market=self.board.market)
        self.board.alerts = found.items


def _on_screen(console: Console) -> Callable[[Board], Coroutine[Any, Any, None]]:
    """Return a function that draws the page in the terminal, at its present size."""

    async def show(board: Board) -> None:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                width, height = console.size
                lines = page(board, _now(), width, height)
                live.update(Text("\n").join(map(_styled, lines)), refresh=True)
                await asyncio.sleep(_DRAW_S)

    return show


def _styled(text: str) -> Text:
    style = _STYLES.get(text.partition(" ")[0], "")
    return Text(text, "bold red" if NO_ANSWER in text else style, no_wrap=True)


def _in_lines(every_s: float) -> Callable[[Board], Coroutine[Any, Any, None]]:
    """Return a function that prints a line every `every_s`, and one for each new exception."""

    async def show(board: Board) -> None:
        loop = asyncio.get_running_loop()
        known: set[tuple[str, str]] = set()
        due_s = loop.time()
        while True:
            now = _now()
            if loop.time() >= due_s:
                due_s += every_s
                print(line(board, now), flush=True)
            found = board.findings(now)
            for each in found:
                if (each.kind, each.id) not in known:
                    print(finding_line(each, now), flush=True)
            known = {(each.kind, each.id) for each in found}
            await asyncio.sleep(_DRAW_S)

    return show


def _now() -> datetime:
    return datetime.now(UTC)
