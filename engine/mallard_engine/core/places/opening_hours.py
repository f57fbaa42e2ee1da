"""Opening hours in the mall's time zone, queried in epoch milliseconds.

A week is seven tuples of spans, Monday first. A span is in minutes after local midnight of the day
on which it opens, so a span past midnight ends after 1,440. A holiday's spans replace those of its
date. Ends are exclusive: a mall that is open until 21:00 is closed at 21:00.

Hours may be `together` with others, such as a shop's with its mall's: open while all of them are.
Those may have no moment in common; `NEVER` is then the next opening.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MINUTES_A_DAY = 1440

_DAY_MS = MINUTES_A_DAY * 60_000

# Enough for two weeks of three openings a day.
_OPENINGS_LOOKED_AT = 42

Span: TypeAlias = tuple[int, int]
Week: TypeAlias = tuple[tuple[Span, ...], ...]

_SPAN = re.compile(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)")


class Opening(NamedTuple):
    """One opening of a mall in epoch ms; `to_ms` None: it does not close."""

    from_ms: int
    to_ms: int | None


_NO_OPENING = Opening(0, 0)

NEVER = Opening(1 << 52, 1 << 52)
"""The opening of hours that are never open. No order's time is as late."""


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """When a mall or a shop is open; `week` None: always, holidays included.

    `also`: hours that must be open as well; see `together`.

    Raises:
        ValueError: The week is not seven days or has no span.
        zoneinfo.ZoneInfoNotFoundError: The time zone is unknown.
    """

    time_zone: str
    week: Week | None = None
    holidays: Mapping[date, tuple[Span, ...]] = field(default_factory=dict)
    also: tuple[OpeningHours, ...] = ()
    zone: ZoneInfo = field(init=False, repr=False, compare=False)
    # A cache of the last result and the times for which it holds: every round asks for the same
    # opening, and computing it takes as long as ranking a driver or two.
    _last: dict[str, tuple[int, int, Opening]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", ZoneInfo(self.time_zone))
        if self.week is None:
            return
        if len(self.week) != 7 or not any(self.week):
            raise ValueError("a week has seven days and is open on at least one of them")

    def spans_of(self, day: date) -> tuple[Span, ...]:
        """Return the spans that open on this local date; none if the mall is always open."""
        if self.week is None:
            return ()
        holiday = self.holidays.get(day)
        return self.week[day.weekday()] if holiday is None else holiday


def together(all_hours: Iterable[OpeningHours]) -> OpeningHours:
    """Return the hours during which all of these are open; at least one."""
    first, *others = all_hours
    limits = [hours for hours in (first, *others) if hours.week is not None]
    if not limits:
        return first
    limit, *also = limits
    return replace(limit, also=(*limit.also, *also)) if also else limit


def parse_spans(text: str) -> tuple[Span, ...]:
    """Parse `10:00-21:00`, several such spans separated by commas, or `closed`.

    An end at or before its start is on the next day; 24:00 is midnight.

    Raises:
        ValueError: The text has another form, or spans overlap or are out of order.
    """
    if text.strip() == "closed":
        return ()
    spans = tuple(_parse_span(part.strip()) for part in text.split(","))
    for (_, end), (start, _) in pairwise(spans):
        if start < end:
            raise ValueError(f"opening hours overlap or are out of order: {text!r}")
    return spans


def _parse_span(text: str) -> Span:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"opening hours are written like 10:00-21:00, not {text!r}")
    from_hour, from_minute, to_hour, to_minute = map(int, match.groups())
    start, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if start >= MINUTES_A_DAY or end > MINUTES_A_DAY:
        raise ValueError(f"no such time of day: {text!r}")
    return start, end if end > start else end + MINUTES_A_DAY


def is_open(hours: OpeningHours, at_ms: int) -> bool:
    """Return whether the mall is open at `at_ms`."""
    return next_opening_ms(hours, at_ms) == at_ms


def next_opening_ms(hours: OpeningHours, at_ms: int) -> int:
    """Return the first moment from `at_ms` on at which the mall is open."""
    return max(opening_at(hours, at_ms).from_ms, at_ms)


def closes_at_ms(hours: OpeningHours, at_ms: int) -> int | None:
    """Return when the opening at `at_ms` ends, or the next one while closed; None: never."""
    return opening_at(hours, at_ms).to_ms


def opening_at(hours: OpeningHours, at_ms: int) -> Opening:
    """Return the opening at `at_ms`; while the mall is closed, the next one.

    Adjacent spans are one opening: until 24:00 and again from 00:00 does not close between.
    """
    if hours.week is None:
        return Opening(at_ms, None)
    first_ms, until_ms, opening = hours._last.get("opening", (0, 0, _NO_OPENING))  # noqa: SLF001 - its cache
    if not first_ms <= at_ms < until_ms:
        opening = _opening(hours, at_ms)
        until_ms = at_ms + _DAY_MS if opening.to_ms is None else opening.to_ms
        hours._last["opening"] = at_ms, until_ms, opening  # noqa: SLF001
    return opening


def _opening(hours: OpeningHours, at_ms: int) -> Opening:
    every = (hours, *hours.also)
    days = 7 * (sum(len(each.holidays) for each in every) + 2)
    openings = reduce(_common, [_openings(each, at_ms, days) for each in every])
    return next(openings, NEVER)


def _common(some: Iterator[Opening], others: Iterator[Opening]) -> Iterator[Opening]:
    """Yield what two sequences of openings have in common, in order."""
    one, other = next(some, None), next(others, None)
    while one and other:
        from_ms = max(one.from_ms, other.from_ms)
        ends_ms = [each.to_ms for each in (one, other) if each.to_ms is not None]
        if not ends_ms:
            yield Opening(from_ms, None)
            return
        to_ms = min(ends_ms)
        if from_ms < to_ms:
            yield Opening(from_ms, to_ms)
        if one.to_ms == to_ms:
            one = next(some, None)
        else:
            other = next(others, None)


def openings_until(hours: OpeningHours, at_ms: int, until_ms: int) -> tuple[Opening, ...]:
    """Return the openings from the one at `at_ms` on that begin before `until_ms`, in order.

    Always open: one opening, from the beginning of the local day.
    """
    if hours.week is None:
        return (Opening(day_start_ms(hours, at_ms), None),)
    days = (until_ms - at_ms) // _DAY_MS + 2
    openings = reduce(_common, [_openings(it, at_ms, days) for it in (hours, *hours.also)])
    return tuple(takewhile(lambda it: it.from_ms < until_ms, openings))


def span_text(span: Span) -> str:
    """Return a span as `parse_spans` reads it."""
    start, end = span
    last = MINUTES_A_DAY if end == MINUTES_A_DAY else end % MINUTES_A_DAY
    return f"{start // 60:02}:{start % 60:02}-{last // 60:02}:{last % 60:02}"


def next_collection_ms(hours: OpeningHours, at_ms: int, needs_ms: int) -> tuple[int, int | None]:
    """Return the first opening from `at_ms` on that lasts `needs_ms`: its start and end.

    The start is not before `at_ms`. The end is None if the mall does not close. If every opening is
    too short, the first one is returned.
    """
    if hours.week is None:
        return at_ms, None
    first: tuple[int, int | None] | None = None
    start_ms = next_opening_ms(hours, at_ms)
    for _ in range(_OPENINGS_LOOKED_AT):
        if start_ms == NEVER.from_ms:
            return first or (start_ms, start_ms)
        end_ms = closes_at_ms(hours, start_ms)
        if first is None:
            first = start_ms, end_ms
        if end_ms is None or start_ms + needs_ms <= end_ms:
            return start_ms, end_ms
        start_ms = next_opening_ms(hours, end_ms)
    assert first is not None  # noqa: S101 - it looked at one at least
    return first


def day_start_ms(hours: OpeningHours, at_ms: int) -> int:
    """Return when the local day of `at_ms` began."""
    today = datetime.fromtimestamp(at_ms / 1000, hours.zone).date()
    return _local_ms(today, 0, hours.zone)


def _openings(hours: OpeningHours, at_ms: int, days: int) -> Iterator[Opening]:
    """Yield openings in order, from the first that ends after `at_ms`; adjacent spans are one.

    The search begins a day early, for spans past midnight, and looks at so many days. An opening
    that lasts until then does not close.
    """
    today = datetime.fromtimestamp(at_ms / 1000, hours.zone).date()
    until_ms = _local_ms(today + timedelta(days=days), MINUTES_A_DAY, hours.zone)
    from_ms = to_ms = None
    for start_ms, end_ms in _spans(hours, today, days):
        if end_ms <= at_ms:
            continue
        if from_ms is None or to_ms is None:
            from_ms, to_ms = start_ms, end_ms
        elif start_ms <= to_ms:
            to_ms = max(to_ms, end_ms)
        else:
            yield Opening(from_ms, to_ms)
            from_ms, to_ms = start_ms, end_ms
    if from_ms is not None and to_ms is not None:
        yield Opening(from_ms, to_ms if to_ms < until_ms else None)


def _spans(hours: OpeningHours, today: date, days: int) -> Iterator[Span]:
    """Yield spans in epoch milliseconds, in order, from the day before until so many days later."""
    for offset in range(-1, days + 1):
        day = today + timedelta(days=offset)
        for start, end in hours.spans_of(day):
            yield _local_ms(day, start, hours.zone), _local_ms(day, end, hours.zone)


def _local_ms(day: date, minutes: int, zone: ZoneInfo) -> int:
    """Return a wall-clock time in epoch ms; the earlier if there are two; before a gap's change.

    The minutes are added to the wall clock: 10:00 stays 10:00 on the day summer time begins.
    """
    wall = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)
    return int(wall.astimezone(UTC).timestamp()) * 1000
