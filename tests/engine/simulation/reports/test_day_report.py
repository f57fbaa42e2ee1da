"""The table of simulated days: complete at every width."""

import re
from dataclasses import fields, replace
from io import StringIO

import pytest
from rich.console import Console

from mallard_engine.simulation.reports.day_report import print_days
from mallard_engine.simulation.reports.day_statistics import DayStatistics

NUMBERS = {field.name: 100 + number for number, field in enumerate(fields(DayStatistics))}
DAY = DayStatistics(**NUMBERS | {"day": "chandler-fashion-center, 950 parcels"})  # type: ignore[arg-type]
NOT_SHOWN = {"day", "delivered", "orders_per_hour", "offers", "store_calls"}
SHOWN = [number for name, number in NUMBERS.items() if name not in NOT_SHOWN]


def lines_of(width: int, days: list[DayStatistics]) -> list[str]:
    console = Console(file=StringIO(), width=width)
    print_days(console, days, ["a note"])
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def numbers_in(lines: list[str]) -> list[int]:
    return [int(found) for line in lines for found in re.findall(r"\b(1\d\d)\b", line)]


def test_wide_console_shows_a_line_per_day() -> None:
    for name, width in (("0o50t100s1p100", 190), ("chandler-fashion-center, 950 parcels", 220)):
        lines = lines_of(width, [replace(DAY, day=name), replace(DAY, day="another")])
        rows = [line.split("│")[2:] for line in lines if name in line or "another" in line]
        assert [numbers_in(row) for row in rows] == [SHOWN, SHOWN]
        assert "…" not in "".join(lines)
        assert lines[-1].strip() == "a note"


@pytest.mark.parametrize("width", [80, 120, 190])
@pytest.mark.parametrize("count", [1, 9])
def test_no_console_cuts_a_word_or_a_number(width: int, count: int) -> None:
    lines = lines_of(width, [replace(DAY, day=f"day {number}") for number in range(count)])
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= width
    assert sorted(numbers_in(lines)) == sorted(SHOWN * count)
    for number in range(count):
        assert f"day {number}" in " ".join(lines)
