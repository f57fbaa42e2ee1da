"""Charts of a simulated day: waits, lateness, kilometres, offers, work, and a map."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from mallard_engine.charts import BarChart, Dot, DotMap, LineChart, Point, Series
from mallard_engine.core.matching.fairness import gini
from mallard_engine.core.places.geo import LocalPlane
from mallard_engine.simulation.reports.day_statistics import work_per_hour
from mallard_engine.simulation.scenario import MIDNIGHT_MS, MINUTE_MS, Day
from mallard_protocol.lifecycle import JobState

_BARS = 40
_HOUR_MS = 60 * MINUTE_MS
# A pickup this long after the parcel was ready is drawn as late.
_LATE_MIN = 5.0
_MOST_DOTS = 4_000


def write_plots(day: Day, folder: Path) -> list[Path]:
    """Write the day's charts to a folder, creating it; return the files. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in _charts(day).items():
        path = folder / f"{name}.svg"
        path.write_text(text, encoding="utf-8")
        files.append(path)
    return files


def _charts(day: Day) -> Mapping[str, str]:
    trips, name = day.trips, day.scenario.name
    waits = [
        _wait_min(trip.order.ready_ms, trip.order.placed_ms, trip.picked_up_ms) for trip in trips
    ]
    late = [(trip.dropped_off_ms - trip.order.best_by_ms) / MINUTE_MS for trip in trips]
    km = [(trip.way_in_m + trip.way_out_m) / 1000 for trip in trips]
    offers = _offers(day)
    counts = Counter(offers)
    most = max(offers, default=0)
    return {
        "waits": _histogram(f"{name}: from ready to picked up", "minutes", waits),
        "lateness": _histogram(
            f"{name}: from when it was wanted to the drop-off (negative: early)", "minutes", late
        ),
        "kilometres": _histogram(f"{name}: to the mall and to the door", "kilometres", km),
        "offers": BarChart(
            f"{name}: offers that a job needed",
            "offers",
            "jobs",
            -0.5,
            1.0,
            [counts[number] for number in range(most + 1)],
            _mean_text(offers, "offers"),
        ).svg(),
        "earnings": _spread(day),
        "hours": _hours(day, waits),
        "map": _map(day, waits),
    }


def _wait_min(ready_ms: int, placed_ms: int, picked_up_ms: int) -> float:
    return (picked_up_ms - max(ready_ms, placed_ms)) / MINUTE_MS


def _histogram(title: str, unit: str, values: Sequence[float]) -> str:
    """Draw bars of a round width; the outermost bars include the outermost per cent of values."""
    ordered = sorted(values) or [0.0]
    low, high = ordered[len(ordered) // 100], ordered[-1 - len(ordered) // 100]
    step = _round_up((high - low) / _BARS)
    first = math.floor(low / step)
    number = max(1, math.floor(high / step) - first + 1)
    heights = [0] * number
    for value in values:
        heights[min(max(math.floor(value / step) - first, 0), number - 1)] += 1
    return BarChart(
        title, unit, "jobs", first * step, step, heights, _mean_text(values, unit)
    ).svg()


def _round_up(step: float) -> float:
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _mean_text(values: Sequence[float], unit: str) -> str:
    return f"{len(values)} jobs, mean {fmean(values):.2f} {unit}" if values else "no job"


def _offers(day: Day) -> list[int]:
    """Return the number of offers of each job."""
    made = Counter(
        str(event["job"])
        for event in day.events
        if (event["kind"] == "job" and event["from"] == JobState.OFFERED)
        or (event["kind"] == "offer" and event["what"] != "offered")
    )
    jobs = {str(event["job"]) for event in day.events if event["kind"] == "job"}
    return [made[job] for job in sorted(jobs)]


def _spread(day: Day) -> str:
    """Draw each driver's jobs per hour of shift, ascending: its earnings if all jobs pay alike."""
    work = sorted(work_per_hour(day))
    points = [Point(100 * (n + 0.5) / len(work), value) for n, value in enumerate(work)]
    title = f"{day.scenario.name}: jobs an hour of shift, by driver (Gini {gini(work):.2f})"
    mean = fmean(work) if work else 0.0
    return LineChart(
        title,
        "drivers, per cent",
        "jobs an hour",
        [
            Series("drivers, least first", points),
            Series("mean", [Point(0.0, mean), Point(100.0, mean)]),
        ],
        ticks=range(0, 101, 20),
        markers=False,
    ).svg()


def _hours(day: Day, waits: Sequence[float]) -> str:
    placed = Counter((order.placed_ms - MIDNIGHT_MS) // _HOUR_MS for order in day.scenario.orders)
    done = Counter((trip.dropped_off_ms - MIDNIGHT_MS) // _HOUR_MS for trip in day.trips)
    hourly: dict[int, list[float]] = {}
    for trip, wait in zip(day.trips, waits, strict=True):
        hourly.setdefault((trip.order.placed_ms - MIDNIGHT_MS) // _HOUR_MS, []).append(wait)
    hours = range(min(placed, default=0), max([*placed, *done], default=0) + 1)
    return LineChart(
        f"{day.scenario.name}: by hour",
        "hour of the day",
        "jobs; minutes",
        [
            Series("ordered", [Point(hour, placed[hour]) for hour in hours]),
            Series("delivered", [Point(hour, done[hour]) for hour in hours]),
            Series("mean wait", [Point(h, fmean(hourly[h])) for h in hours if h in hourly]),
        ],
    ).svg()


def _map(day: Day, waits: Sequence[float]) -> str:
    malls = [
        day.scenario.places.mall(name) for name in sorted({o.mall for o in day.scenario.orders})
    ]
    plane = LocalPlane(fmean([mall.lat for mall in malls]), fmean([mall.lon for mall in malls]))
    every = max(1, math.ceil(len(day.trips) / _MOST_DOTS))
    dots = [
        Dot(*plane.xy(trip.order.lat, trip.order.lon), 2.5, 2 if wait <= _LATE_MIN else 1)
        for trip, wait in zip(day.trips[::every], waits[::every], strict=True)
    ]
    dots += [Dot(*plane.xy(mall.lat, mall.lon), 4.0, 0) for mall in malls]
    names = ("pickups", f"drop-offs, picked up over {_LATE_MIN:g} min late", "in time")
    part = f" (every {every}th drop-off)" if every > 1 else ""
    return DotMap(f"{day.scenario.name}: pickups and drop-offs{part}", names, dots).svg()
