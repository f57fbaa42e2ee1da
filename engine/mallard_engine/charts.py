"""Line charts, bar charts and maps as SVG, for light and dark themes.

The output is deterministic text with a tooltip on every point, so a chart that is checked in can be
reviewed as a diff. No drawing library is needed for this.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 720
_HEIGHT: Final = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 64, 52
# Light and dark theme. They differ in hue and in brightness; the markers differ as well.
_COLOURS: Final = (
    ("#1763b6", "#6cb2ff"),
    ("#c2410c", "#ff9a62"),
    ("#15803d", "#63d68b"),
    ("#7e3ab5", "#cf9dfc"),
    ("#5f6772", "#a9b2bd"),
    ("#9d174d", "#fb8dbb"),
)
# Visible on both themes.
_SCALE: Final = "stroke:#768390;stroke-width:2"
_MARKERS: Final = ("circle", "square", "diamond", "triangle")


class Point(NamedTuple):
    """A point of a series, with a whisker from `least` to `most` if both are given."""

    x: float
    y: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of a chart."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over one pair of axes.

    Args:
        log_x: Whether the x axis is logarithmic; it then takes positive values only.
        log_y: The same for the y axis.
        limits: Named heights, drawn as dashed lines.
        ticks: The marked x values; by default every x of a series.
        markers: Whether each point has a marker and a tooltip.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    height: int = _HEIGHT
    limits: Sequence[tuple[str, float]] = ()
    ticks: Sequence[float] = field(default=())
    markers: bool = True

    def svg(self) -> str:
        """Return the SVG document. Raises `ValueError` for a chart without a point."""
        return "\n".join(_line_chart(self)) + "\n"


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars of equal width `step`, the first starting at `low` on the x axis."""

    title: str
    x_label: str
    y_label: str
    low: float
    step: float
    heights: Sequence[float]
    note: str = ""

    def svg(self) -> str:
        """Return the SVG document."""
        return "\n".join(_bar_chart(self)) + "\n"


class Dot(NamedTuple):
    """A dot of a map: metres east and north, radius in pixels, index of its series."""

    x: float
    y: float
    radius: float
    series: int


@dataclass(frozen=True, slots=True)
class DotMap:
    """Dots on a plane in metres, with one scale for both directions."""

    title: str
    names: Sequence[str]
    dots: Sequence[Dot]

    def svg(self) -> str:
        """Return the SVG document."""
        return "\n".join(_dot_map(self)) + "\n"


class _Axis:
    """Maps values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool) -> None:
        self._log = log
        self._low, self._high = self._scaled(low), self._scaled(high)
        if self._low == self._high:
            self._low, self._high = self._low - 0.5, self._high + 0.5
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Return the pixel of a value, to a tenth."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._log else value


def _line_chart(chart: LineChart) -> Iterator[str]:
    points = [point for series in chart.series for point in series.points]
    if not points:
        raise ValueError(f"{chart.title}: nothing to draw")
    xs = sorted({point.x for point in points})
    low, high = _height_range(chart, points)
    across = _Axis(xs[0], xs[-1], _LEFT + 24, _WIDTH - _RIGHT - 24, log=chart.log_x)
    up = _Axis(low, high, chart.height - _BOTTOM, _TOP, log=chart.log_y)
    yield from _head(chart.title, [series.name for series in chart.series], chart.height)
    yield from _y_grid(up, _marks(low, high, log=chart.log_y))
    yield from _x_ticks(across, chart.ticks or xs, chart.height)
    for name, height in chart.limits:
        y, right = up.at(height), _WIDTH - _RIGHT
        yield f'<line class="limit" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>'
        yield f'<text x="{right}" y="{y - 5}" text-anchor="end">{escape(name)}</text>'
    yield from _axis_labels(chart.x_label, chart.y_label, chart.height)
    for number, series in enumerate(chart.series):
        yield from _line(number, series, across, up, markers=chart.markers)
    yield "</svg>"


def _bar_chart(chart: BarChart) -> Iterator[str]:
    count = max(len(chart.heights), 1)
    low, high = chart.low, chart.low + chart.step * count
    top = max(chart.heights, default=0.0) * 1.05 or 1.0
    across = _Axis(low, high, _LEFT, _WIDTH - _RIGHT, log=False)
    up = _Axis(0.0, top, _HEIGHT - _BOTTOM, _TOP, log=False)
    yield from _head(chart.title, [chart.note] if chart.note else [], _HEIGHT)
    yield from _y_grid(up, _marks(0.0, top, log=False))
    yield from _x_ticks(across, _marks(low, high, log=False), _HEIGHT)
    yield from _axis_labels(chart.x_label, chart.y_label, _HEIGHT)
    yield '<g class="s0">'
    for number, height in enumerate(chart.heights):
        if height:
            left, right = (across.at(low + n * chart.step) for n in (number, number + 1))
            yield (
                f'<rect class="mark" x="{left + 0.5:.1f}" y="{up.at(height)}" '
                f'width="{max(right - left - 1, 0.5):.1f}" '
                f'height="{up.at(0) - up.at(height):.1f}"/>'
            )
    yield "</g></svg>"


def _dot_map(chart: DotMap) -> Iterator[str]:
    xs, ys = [dot.x for dot in chart.dots] or [0.0], [dot.y for dot in chart.dots] or [0.0]
    side_m = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    size = _WIDTH - 2 * _RIGHT
    height = _TOP + size + _BOTTOM
    # A square; the shorter direction is centred.
    west = (min(xs) + max(xs) - side_m) / 2
    south = (min(ys) + max(ys) - side_m) / 2
    across = _Axis(west, west + side_m, _RIGHT, _RIGHT + size, log=False)
    up = _Axis(south, south + side_m, _TOP + size, _TOP, log=False)
    yield from _head(chart.title, chart.names, height)
    for dot in chart.dots:
        at = f'cx="{across.at(dot.x)}" cy="{up.at(dot.y)}"'
        yield (f'<circle class="s{dot.series} mark" {at} r="{dot.radius}" fill-opacity=".55"/>')
    length_m = 10 ** math.floor(math.log10(side_m / 2))
    right, bottom = across.at(west + length_m), height - 24
    yield f'<line style="{_SCALE}" x1="{_RIGHT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
    yield f'<text x="{right + 8}" y="{bottom + 4}">{length_m / 1000:g} km</text>'
    yield "</svg>"


def _head(title: str, names: Sequence[str], height: int) -> Iterator[str]:
    """The opening tag, the style, the page, the title and the legend."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">'
    )
    yield _style(max(len(names), 1))
    yield f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>'
    yield f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>'
    x = float(_LEFT)
    for number, name in enumerate(names):
        yield f'<g class="s{number}">{_marker(number, x + 6, 42)}</g>'
        yield f'<text x="{x + 16:.0f}" y="46">{escape(name)}</text>'
        x += 34 + 6.6 * len(name)


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


def _y_grid(up: _Axis, marks: Iterable[float]) -> Iterator[str]:
    right = _WIDTH - _RIGHT
    for mark in marks:
        y = up.at(mark)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{_label(mark)}</text>'


def _x_ticks(across: _Axis, ticks: Iterable[float], height: int) -> Iterator[str]:
    bottom = height - _BOTTOM
    for tick in ticks:
        x = across.at(tick)
        yield f'<line class="grid" x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}"/>'
        yield f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{_label(tick)}</text>'


def _axis_labels(x_label: str, y_label: str, height: int) -> Iterator[str]:
    middle, centre = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + height - _BOTTOM) / 2
    yield f'<text x="{middle:.0f}" y="{height - 12}" text-anchor="middle">{escape(x_label)}</text>'
    yield (
        f'<text x="16" y="{centre:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 16 {centre:.0f})">{escape(y_label)}</text>'
    )


def _line(number: int, series: Series, across: _Axis, up: _Axis, *, markers: bool) -> Iterator[str]:
    places = [(across.at(point.x), up.at(point.y)) for point in series.points]
    yield f'<g class="s{number}">'
    path = " ".join(f"{x},{y}" for x, y in places)
    yield f'<polyline class="line" points="{path}"/>'
    for point, (x, y) in zip(series.points, places, strict=True) if markers else ():
        if point.least is not None and point.most is not None:
            ends = f'x1="{x}" y1="{up.at(point.least)}" x2="{x}" y2="{up.at(point.most)}"'
            yield f'<line class="whisker" {ends}/>'
        tooltip = f"{series.name}: {three_digits(point.y)} at {_label(point.x)}"
        yield _marker(number, x, y, tooltip)
    yield "</g>"


def _marker(number: int, x: float, y: float, tooltip: str = "") -> str:
    shape = _MARKERS[number % len(_MARKERS)]
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
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
    """Return round values between the two bounds."""
    if log:
        decades = range(round(math.log10(low)), round(math.log10(high)) + 1)
        return [10.0**decade for decade in decades]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _label(value: float) -> str:
    """Format a round value: 0.01, 5, 100 000."""
    return f"{value:,.10g}".replace(",", " ") if abs(value) >= 1 else f"{value:.4g}"


def three_digits(value: float) -> str:
    """Format a value with three significant digits and spaces between thousands."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".replace(",", " ")
