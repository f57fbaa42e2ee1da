"""Measures the console with a busy market on a recorded feed: frames, script, memory, first paint.

    python -m tests.pages.recorded.load --minutes 10 --json FILE     # make console-load
    python -m tests.pages.recorded.load --minutes 1                  # the short form

No engine runs. A page of the console is open in Chromium with software rendering; each
minute it is on four of its places in turn, half of the time untouched and half of it scrolled or
dragged. Frames are counted by `requestAnimationFrame`; script, layout and heap are Chromium's own
figures. At the end of each minute garbage is collected, and the heap,
the nodes (also those that no document holds) and the listeners are counted. Exits with 1 if a
figure misses what is asked for.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import jwt
from playwright.async_api import CDPSession, Page

from tests.pages.browser import opened, running_browser
from tests.pages.recorded.server import Recorded, serving
from tests.pages.recorded.world import BUSY, MARKET, Size, World

PLACES: Final = ("exceptions", "orders", "drivers", "map")
_SOFTWARE: Final = ("--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_LEAST_FRAMES: Final = 20.0
_MOST_PAINT_S: Final = 2.0
# Of heap, nodes and listeners after garbage is gone, from the second minute to the last.
_MOST_GROWTH: Final = 0.05
# A place is opened before it is watched: the map's shaders are compiled then, each time anew.
_SETTLE_S: Final = 2.0
_DRAWS_PER_S: Final = 4
_FRAMES: Final = """
window.seen = { frames: [], long: [] };
window.firstRow = undefined;
new PerformanceObserver((list) => {
  for (const it of list.getEntries()) window.seen.long.push(it.duration);
}).observe({ type: "longtask" });
(function frame(at) {
  window.seen.frames.push(at);
  if (window.firstRow === undefined && document.querySelector(".grid-row")) window.firstRow = at;
  requestAnimationFrame(frame);
})(performance.now());
"""


@dataclass(frozen=True, slots=True)
class Stay:
    """What was seen on one place. Times are in ms a second; `worst_ms`: between two frames."""

    place: str
    frames_per_s: float
    worst_ms: float
    p99_ms: float
    script: float
    layout: float
    task: float
    longest_task_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. Heap, nodes and listeners: after each minute.

    `first_rows_s`: until rows are shown.
    """

    first_rows_s: float
    stays: Sequence[Stay]
    heap_mb: Sequence[float]
    nodes: Sequence[int]
    listeners: Sequence[int]
    events: int
    size: Mapping[str, float]

    def misses(self) -> list[str]:
        """Return what is not as it is asked for."""
        wrong = [
            f"{it.place}: {it.frames_per_s:.1f} frames a second"
            for it in self.stays
            if it.frames_per_s < _LEAST_FRAMES
        ]
        if self.first_rows_s > _MOST_PAINT_S:
            wrong.append(f"first rows after {self.first_rows_s:.2f} s")
        kept = {"heap": self.heap_mb, "nodes": self.nodes, "listeners": self.listeners}
        return wrong + [
            f"{name} grew: {figures}"
            for name, figures in kept.items()
            if growth(figures) > _MOST_GROWTH
        ]


def growth(after_minutes: Sequence[float]) -> float:
    """Return the share by which a figure grew from its first third to its last, without warm-up."""
    kept = after_minutes[1:]
    if len(kept) < 2:
        return 0.0
    third = max(1, len(kept) // 3)
    return statistics.mean(kept[-third:]) / statistics.mean(kept[:third]) - 1


async def measure(size: Size, minutes: int, stay_s: float, places: Sequence[str]) -> Report:
    """Drive the console for so many minutes."""
    recorded = Recorded(World(size, int(time.time() * 1000)))
    with serving(recorded) as url:
        async with (
            running_browser(_SOFTWARE) as browser,
            opened(
                browser, f"{url}/console#/{MARKET}/exceptions", token=token(), script=_FRAMES
            ) as it,
        ):
            it.expected += ["GPU stall", "GL Driver Message", "WebGL"]
            await it.page.locator(".grid-row").first.wait_for(timeout=60_000)
            await asyncio.sleep(1)  # the script sees them with the frame after
            first = await it.page.evaluate("window.firstRow")
            chromium = await it.page.context.new_cdp_session(it.page)
            await chromium.send("Performance.enable")
            stays: list[Stay] = []
            heap_mb: list[float] = []
            nodes: list[int] = []
            listeners: list[int] = []
            for _ in range(minutes):
                for place in places:
                    await _go(it.page, place)
                    stays.append(await _stay(it.page, chromium, place, stay_s))
                await chromium.send("HeapProfiler.collectGarbage")
                figures = await _figures(chromium)
                heap_mb.append(round(figures["JSHeapUsedSize"] / 1e6, 2))
                nodes.append(int(figures["Nodes"]))
                listeners.append(int(figures["JSEventListeners"]))
    return Report(first / 1000, stays, heap_mb, nodes, listeners, recorded.sent, asdict(size))


async def _go(page: Page, place: str) -> None:
    await page.evaluate("place => { location.hash = place; }", f"/{MARKET}/{place}")
    shown = ".maplibregl-canvas" if place == "map" else ".grid-row"
    await page.locator(shown).first.wait_for(timeout=60_000)
    await asyncio.sleep(_SETTLE_S)


async def _stay(page: Page, chromium: CDPSession, place: str, seconds: float) -> Stay:
    """Watch a place, the second half of the time with somebody's hand on it."""
    await page.evaluate("window.seen.frames.length = window.seen.long.length = 0")
    before = await _figures(chromium)
    began = time.monotonic()
    await asyncio.sleep(seconds / 2)
    await page.mouse.move(700, 500)
    number = 0
    while time.monotonic() - began < seconds:
        number += 1
        if place == "map":
            await page.mouse.down()
            await page.mouse.move(700 + 60 * (number % 2), 500 + 40 * (number % 2), steps=4)
            await page.mouse.up()
        else:
            await page.mouse.wheel(0, 600 if number % 8 < 4 else -600)
        await asyncio.sleep(0.15)
    frames = await page.evaluate("window.seen.frames")
    long = await page.evaluate("window.seen.long")
    after = await _figures(chromium)
    took = after["Timestamp"] - before["Timestamp"]
    gaps = sorted(b - a for a, b in pairwise(frames))

    def per_s(*names: str) -> float:
        return round(sum(after[name] - before[name] for name in names) * 1000 / took, 1)

    return Stay(
        place=place,
        frames_per_s=round((len(frames) - 1) / (frames[-1] - frames[0]) * 1000, 1),
        worst_ms=round(gaps[-1], 1),
        p99_ms=round(gaps[math.ceil(len(gaps) * 0.99) - 1], 1),
        script=per_s("ScriptDuration"),
        layout=per_s("LayoutDuration", "RecalcStyleDuration"),
        task=per_s("TaskDuration"),
        longest_task_ms=max(long, default=0.0),
    )


async def _figures(chromium: CDPSession) -> dict[str, float]:
    answer = await chromium.send("Performance.getMetrics")
    return {it["name"]: it["value"] for it in answer["metrics"]}


def token() -> str:
    """Return an operator's token: the page reads what it states, and nobody here checks it."""
    claims = {"sub": "ops", "role": "operator", "exp": int(time.time()) + 86_400}
    return jwt.encode(claims, "a recorded feed has no secret, only this text", "HS256")


def table(report: Report) -> str:
    """Return the report as it stands in docs/measurements/console.md."""
    head = (
        "| Place | frames a second | worst gap, p99 | script a second, a draw | layout, style | "
        "main thread | longest task |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    lines = [f"First rows after {report.first_rows_s:.2f} s. {report.events} events.", "", head]
    for place in PLACES:
        of = [it for it in report.stays if it.place == place]
        if not of:
            continue
        mean = {
            name: statistics.mean(getattr(it, name) for it in of)
            for name in ("frames_per_s", "script", "layout", "task")
        }
        lines.append(
            f"| {place} | {mean['frames_per_s']:.1f} ({min(it.frames_per_s for it in of):.1f}) | "
            f"{max(it.worst_ms for it in of):.0f}, {max(it.p99_ms for it in of):.0f} ms | "
            f"{mean['script']:.0f}, {mean['script'] / _DRAWS_PER_S:.1f} ms | "
            f"{mean['layout']:.0f} ms | {mean['task']:.0f} ms | "
            f"{max(it.longest_task_ms for it in of):.0f} ms |"
        )
    lines += ["", f"Heap after each minute: {', '.join(map(str, report.heap_mb))} MB."]
    lines.append(f"Nodes: {', '.join(map(str, report.nodes))}.")
    lines.append(f"Listeners: {', '.join(map(str, report.listeners))}.")
    return "\n".join(lines)


def machine() -> str:
    """Return the commit and the machine of a run."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # a tool of developers
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return f"Commit {commit}; {os.cpu_count()} cores, {platform.machine()}, {platform.release()}."


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a figure misses what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, prog="tests.pages.recorded.load")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--stay-s", type=float, default=15.0, help="on each of the four places")
    parser.add_argument("--drivers", type=int, default=BUSY.drivers)
    parser.add_argument("--jobs", type=int, default=BUSY.jobs)
    parser.add_argument("--moves-every-s", type=float, default=BUSY.moves_every_s)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args(argv)
    size = Size(flags.drivers, flags.jobs, flags.moves_every_s)
    report = asyncio.run(measure(size, flags.minutes, flags.stay_s, flags.places))
    if flags.json:
        flags.json.write_text(json.dumps(_plain(report), indent=1) + "\n")
    wrong = report.misses()
    missed = [f"MISSED {it}" for it in wrong]
    sys.stdout.write("\n\n".join([machine(), table(report), *missed]) + "\n")
    return 1 if wrong else 0


def _plain(report: Report) -> dict[str, Any]:
    return {"machine": machine()} | asdict(report)


if __name__ == "__main__":
    sys.exit(main())
