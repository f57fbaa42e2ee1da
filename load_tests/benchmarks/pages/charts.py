"""Line charts as SVG, written by hand: readable in a browser, light and dark, and as a diff."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, NamedTuple

from load_tests.benchmarks.pages.ratios import shown

_WIDTH: Final = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 64, 52
# Told apart by hue and by brightness, on white and on near-black; the markers differ as well.
_COLOURS: Final = (
    ("#1763b6", "#6cb2ff"),
    ("#c2410c", "#ff9a62"),
    ("#15803d", "#63d68b"),
    ("#7e3ab5", "#cf9dfc"),
    ("#5f6772", "#a9b2bd"),
    ("#9d174d", "#fb8dbb"),
)
_MARKERS: Final = ("circle", "square", "diamond", "triangle")


class Point(NamedTuple):
    """A point of a series; a whisker goes from `least` to `most` if they are given."""

    x: float
    y: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over one pair of axes; a logarithmic axis shows positive figures only.

    `limits`: named heights drawn as dashed lines. `ticks`: where the x axis is marked, by default
    at every x that a series has.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    height: int = 380
    limits: Sequence[tuple[str, float]] = ()
    ticks: Sequence[float] = field(default=())

    def svg(self) -> str:
        """The chart as a document of its own. Raises `ValueError` for one without a point."""
        return "\n".join(_document(self)) + "\n"


class _Axis:
    """Figures to places on the page."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool) -> None:
        self._log = log
        self._low, self._high = self._scaled(low), self._scaled(high)
        if self._low == self._high:
            self._low, self._high = self._low - 0.5, self._high + 0.5
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Where a figure stands, to a tenth of a pixel."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._log else value


def _document(chart: LineChart) -> Iterator[str]:
    points = [point for series in chart.series for point in series.points]
    if not points:
        raise ValueError(f"{chart.title}: nothing to draw")
    xs = sorted({point.x for point in points})
    low, high = _height_range(chart, points)
    across = _Axis(xs[0], xs[-1], _LEFT + 24, _WIDTH - _RIGHT - 24, log=chart.log_x)
    up = _Axis(low, high, chart.height - _BOTTOM, _TOP, log=chart.log_y)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {chart.height}" '
        f'width="{_WIDTH}" height="{chart.height}" role="img" aria-label="{escape(chart.title)}">'
    )
    yield _style(len(chart.series))
    yield f'<rect class="page" width="{_WIDTH}" height="{chart.height}" rx="6"/>'
    yield f'<text class="title" x="{_LEFT}" y="24">{escape(chart.title)}</text>'
    yield from _legend(chart.series)
    yield from _grid(chart, across, up, low, high, chart.ticks or xs)
    for number, series in enumerate(chart.series):
        yield from _line(number, series, across, up)
    yield "</svg>"


def _height_range(chart: LineChart, points: Iterable[Point]) -> tuple[float, float]:
    heights = [y for point in points for y in (point.y, point.least, point.most) if y is not None]
    heights += [height for _, height in chart.limits]
    if not chart.log_y:
        return min(0.0, *heights), max(heights) * 1.05 or 1.0
    return 10 ** math.floor(math.log10(min(heights))), 10 ** math.ceil(math.log10(max(heights)))


def _style(series: int) -> str:
    light = "".join(f".s{n}{{--c:{_COLOURS[n % len(_COLOURS)][0]}}}" for n in range(series))
    dark = "".join(f".s{n}{{--c:{_COLOURS[n % len(_COLOURS)][1]}}}" for n in range(series))
    return (
        "<style>"
        "text{font:12px system-ui,sans-serif;fill:#30363d}"
        ".title{font-size:15px;font-weight:600}.page{fill:#fff}"
        ".grid{stroke:#d8dee4;stroke-width:1}.limit{stroke:#8c959f;stroke-dasharray:5 4}"
        ".line{fill:none;stroke:var(--c);stroke-width:2}.mark{fill:var(--c)}"
        ".whisker{stroke:var(--c);stroke-width:1.2;opacity:.6}"
        f"{light}"
        "@media (prefers-color-scheme:dark){text{fill:#d1d7e0}.page{fill:#151b23}"
        f".grid{{stroke:#30363d}}.limit{{stroke:#768390}}{dark}}}"
        "</style>"
    )


def _legend(series: Sequence[Series]) -> Iterator[str]:
    x = float(_LEFT)
    for number, one in enumerate(series):
        yield f'<g class="s{number}">{_marker(number, x + 6, 42)}</g>'
        yield f'<text x="{x + 16:.0f}" y="46">{escape(one.name)}</text>'
        x += 34 + 6.6 * len(one.name)


def _grid(
    chart: LineChart, across: _Axis, up: _Axis, low: float, high: float, ticks: Sequence[float]
) -> Iterator[str]:
    bottom, right = chart.height - _BOTTOM, _WIDTH - _RIGHT
    for height in _marks(low, high, log=chart.log_y):
        y = up.at(height)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{_label(height)}</text>'
    for tick in ticks:
        x = across.at(tick)
        yield f'<line class="grid" x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}"/>'
        yield f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{_label(tick)}</text>'
    for name, height in chart.limits:
        y = up.at(height)
        yield f'<line class="limit" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>'
        yield f'<text x="{right}" y="{y - 5}" text-anchor="end">{escape(name)}</text>'
    middle = (_LEFT + right) / 2
    yield (
        f'<text x="{middle:.0f}" y="{chart.height - 12}" text-anchor="middle">'
        f"{escape(chart.x_label)}</text>"
    )
    centre = (_TOP + bottom) / 2
    yield (
        f'<text x="16" y="{centre:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 16 {centre:.0f})">{escape(chart.y_label)}</text>'
    )


def _line(number: int, series: Series, across: _Axis, up: _Axis) -> Iterator[str]:
    places = [(across.at(point.x), up.at(point.y)) for point in series.points]
    yield f'<g class="s{number}">'
    path = " ".join(f"{x},{y}" for x, y in places)
    yield f'<polyline class="line" points="{path}"/>'
    for point, (x, y) in zip(series.points, places, strict=True):
        if point.least is not None and point.most is not None:
            ends = f'x1="{x}" y1="{up.at(point.least)}" x2="{x}" y2="{up.at(point.most)}"'
            yield f'<line class="whisker" {ends}/>'
        told = f"{series.name}: {shown(point.y)} at {_label(point.x)}"
        yield _marker(number, x, y, told)
    yield "</g>"


def _marker(number: int, x: float, y: float, told: str = "") -> str:
    shape = _MARKERS[number % len(_MARKERS)]
    title = f"<title>{escape(told)}</title>" if told else ""
    if shape == "circle":
        return f'<circle class="mark" cx="{x}" cy="{y}" r="4">{title}</circle>'
    corners = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "triangle": ((0, -5), (5, 4), (-5, 4)),
    }[shape]
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="mark" points="{path}">{title}</polygon>'


def _marks(low: float, high: float, *, log: bool) -> list[float]:
    """Round figures from the lowest to the highest."""
    if log:
        decades = range(round(math.log10(low)), round(math.log10(high)) + 1)
        return [10.0**decade for decade in decades]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _label(value: float) -> str:
    """A round figure as people write it: 0.01, 5, 100 000."""
    return f"{value:,.10g}".replace(",", " ") if abs(value) >= 1 else f"{value:.4g}"
