"""Charts of a ramp: latency against rate, and the use of the engine and Redis."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from load_tests.measurements import Measure
from load_tests.swarm.ramp.rate_search import Step
from mallard_engine.charts import LineChart, Point, Series

_RATE: Final = "orders a second"
_SIZE: Final = re.compile(r'width="(\d+)" height="(\d+)"')
_PERCENTS: Final = (50.0, 90.0, 99.0, 99.9)

ReadValue = Callable[[Step], float | None]


def ramp_plot(steps: Sequence[Step]) -> str:
    """Return an SVG of all charts that have data, stacked."""
    by_rate = sorted(steps, key=lambda step: step.rate)
    parts, height, width = [], 0, 0
    for chart in _charts(by_rate):
        if any(series.points for series in chart.series):
            svg = chart.svg()
            found = _SIZE.search(svg)
            if found is None:
                raise ValueError("a chart without a size")
            parts.append(f'<svg y="{height}"{svg.removeprefix("<svg")}')
            width, height = max(width, int(found[1])), height + int(found[2])
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">'
    )
    return "\n".join((opening, *parts, "</svg>")) + "\n"


def _charts(steps: Sequence[Step]) -> Iterator[LineChart]:
    def series(name: str, read: ReadValue) -> Series:
        points = [(step.rate, read(step)) for step in steps]
        return Series(name, [Point(rate, it) for rate, it in points if it is not None])

    def chart(title: str, label: str, *lines: Series, log: bool = False) -> LineChart:
        shown = [line for line in lines if line.points]
        return LineChart(title, _RATE, label, shown, log_y=log, height=300)

    def percentile(percent: float) -> Series:
        def read(step: Step) -> float | None:
            return step.result.percentile_ms(Measure.OFFER, percent) or None

        return series(f"p{percent:g}", read)

    yield chart("Offer latency", "ms", *map(percentile, _PERCENTS), log=True)
    yield chart(
        "CPU",
        "cores",
        series("engine", lambda step: step.usage.engine_cpu),
        series("Redis", lambda step: step.usage.redis_cpu),
        series("generator", lambda step: step.result.generator_cpu),
    )
    yield chart(
        "Memory",
        "MiB",
        series("engine", lambda step: step.usage.engine_mib),
        series("Redis", lambda step: step.usage.redis_mib),
    )
    yield chart(
        "Event-loop lag of the engine",
        "ms, at most",
        series("p50", lambda step: step.usage.lag_p50_ms),
        series("p99", lambda step: step.usage.lag_p99_ms),
    )
