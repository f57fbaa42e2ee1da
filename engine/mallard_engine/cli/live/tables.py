"""Tables of plain text: columns as wide as what is in them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

_GAP: Final = "  "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with its head."""
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield _GAP.join(cells).rstrip()


def age(since: datetime, now: datetime) -> str:
    """Return the time from `since` to `now` in its two largest units: ``3 m 20 s``."""
    return duration((now - since).total_seconds())


def duration(seconds: float) -> str:
    """Return a duration in its two largest units; a negative one with a minus."""
    sign, left = ("-" if seconds < 0 else ""), int(abs(seconds))
    minutes, s = divmod(left, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{sign}{days} d {h} h"
    if hours:
        return f"{sign}{h} h {m} m"
    return f"{sign}{m} m {s} s" if minutes else f"{sign}{s} s"


def clock(at: datetime) -> str:
    """Return a moment as the local time of day."""
    return at.astimezone().strftime("%H:%M:%S")
