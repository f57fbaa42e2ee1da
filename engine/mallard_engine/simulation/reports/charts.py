"""Small charts of a day as SVG, written by hand: bars, curves and a map; light and dark."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 720
_HEIGHT: Final = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 64, 52
_TICKS: Final = 6
# Told apart by hue and by brightness, on white and on near-black.
_COLOURS: Final = (("#1763b6", "#6cb2ff"), ("#c2410c", "#ff9a62"), ("#15803d", "#63d68b"))


class Dot(NamedTuple):
    """A point of a map: metres east and north, how large it is drawn, its series."""

    x: float
    y: float
    radius: float
    series: int


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of equal width from ``low`` on, ``step`` wide each."""

    title: str
    x_label: str
    y_label: str
    low: float
    step: float
    heights: Sequence[float]
    note: str = ""

    def svg(self) -> str:
        """The chart as a document of its own."""
        high = self.low + self.step * max(len(self.heights), 1)
        across = _Axis(self.low, high, _LEFT, _WIDTH - _RIGHT)
        up = _Axis(0.0, max(self.heights, default=0.0) * 1.05 or 1.0, _HEIGHT - _BOTTOM, _TOP)
        lines = [*_head(self.title, (self.note,)), *_grid(across, up, self.x_label, self.y_label)]
        for number, height in enumerate(self.heights):
            if not height:
                continue
            left = across.at(self.low + number * self.step)
            right, top = across.at(self.low + (number + 1) * self.step), up.at(height)
            lines.append(
                f'<rect class="s0" x="{left + 0.5:.1f}" y="{top}" '
                f'width="{max(right - left - 1, 0.5):.1f}" height="{up.at(0) - top:.1f}"/>'
            )
        return _whole(lines, _HEIGHT)


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines over one pair of axes: for each name its points (x, y)."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]]

    def svg(self) -> str:
        """The chart as a document of its own."""
        points = [point for _, series in self.series for point in series] or [(0.0, 0.0)]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        across = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
        up = _Axis(min(0.0, *ys), max(ys) * 1.05 or 1.0, _HEIGHT - _BOTTOM, _TOP)
        names = [name for name, _ in self.series]
        lines = [*_head(self.title, names), *_grid(across, up, self.x_label, self.y_label)]
        for number, (_, series) in enumerate(self.series):
            path = " ".join(f"{across.at(x)},{up.at(y)}" for x, y in series)
            lines.append(f'<polyline class="line l{number}" points="{path}"/>')
        return _whole(lines, _HEIGHT)


@dataclass(frozen=True, slots=True)
class Map:
    """Dots on the ground, metres east and north, as long one way as the other."""

    title: str
    names: Sequence[str]
    dots: Sequence[Dot]

    def svg(self) -> str:
        """The chart as a document of its own."""
        xs, ys = [dot.x for dot in self.dots] or [0.0], [dot.y for dot in self.dots] or [0.0]
        side_m = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
        size = _WIDTH - 2 * _RIGHT
        height = _TOP + size + _BOTTOM
        # Both begin at the least; the shorter way is drawn in the middle.
        west = (min(xs) + max(xs) - side_m) / 2
        south = (min(ys) + max(ys) - side_m) / 2
        across = _Axis(west, west + side_m, _RIGHT, _RIGHT + size)
        up = _Axis(south, south + side_m, _TOP + size, _TOP)
        lines = _head(self.title, self.names, height)
        for dot in self.dots:
            at = f'cx="{across.at(dot.x)}" cy="{up.at(dot.y)}"'
            lines.append(f'<circle class="s{dot.series}" {at} r="{dot.radius}" opacity=".55"/>')
        length_m = 10 ** math.floor(math.log10(side_m / 2))
        right, bottom = across.at(west + length_m), height - 24
        lines.append(
            f'<line class="scale" x1="{_RIGHT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
            f'<text x="{right + 8}" y="{bottom + 4}">{length_m / 1000:g} km</text>'
        )
        return _whole(lines, height)


class _Axis:
    """Figures to places on the page."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = (low, high) if high > low else (low - 0.5, low + 0.5)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Where a figure stands, to a tenth of a pixel."""
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> Iterator[float]:
        """Round figures between the ends."""
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield number * step


def _head(title: str, names: Sequence[str], height: int = _HEIGHT) -> list[str]:
    lines = [
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
    ]
    x = float(_LEFT)
    for number, name in enumerate(names):
        if name:
            lines += [
                f'<rect class="s{number}" x="{x:.0f}" y="37" width="10" height="10"/>',
                f'<text x="{x + 16:.0f}" y="46">{escape(name)}</text>',
            ]
        x += 36 + 6.6 * len(name)
    return lines


def _grid(across: _Axis, up: _Axis, x_label: str, y_label: str) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for tick in up.ticks():
        y = up.at(tick)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>'
    for tick in across.ticks():
        x = across.at(tick)
        yield f'<line class="grid" x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}"/>'
        yield f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>'
    middle, centre = (_LEFT + right) / 2, (_TOP + bottom) / 2
    yield f'<text x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>'
    yield (
        f'<text x="16" y="{centre:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 16 {centre:.0f})">{escape(y_label)}</text>'
    )


def _whole(lines: Sequence[str], height: int) -> str:
    def colours(theme: int) -> str:
        return "".join(
            f".s{number}{{fill:{pair[theme]}}}.l{number}{{stroke:{pair[theme]}}}"
            for number, pair in enumerate(_COLOURS)
        )

    style = (
        "text{font:12px system-ui,sans-serif;fill:#30363d}.title{font-size:15px;font-weight:600}"
        ".page{fill:#fff}.grid{stroke:#d8dee4}.line{fill:none;stroke-width:2}"
        f".scale{{stroke:#30363d;stroke-width:2}}{colours(0)}"
        "@media (prefers-color-scheme:dark){text{fill:#d1d7e0}.page{fill:#151b23}"
        f".grid{{stroke:#30363d}}.scale{{stroke:#d1d7e0}}{colours(1)}}}"
    )
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><style>{style}</style>'
    return "\n".join((head, *lines, "</svg>")) + "\n"
