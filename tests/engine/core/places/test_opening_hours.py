from collections.abc import Mapping
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.places.opening_hours import (
    NEVER,
    OpeningHours,
    Span,
    closes_at_ms,
    is_open,
    next_collection_ms,
    next_opening_ms,
    opening_at,
    parse_spans,
    together,
)

NEW_YORK = "America/New_York"
HOUR_MS = 3_600_000


def every_day(
    text: str, time_zone: str = NEW_YORK, holidays: Mapping[date, tuple[Span, ...]] | None = None
) -> OpeningHours:
    return OpeningHours(time_zone, (parse_spans(text),) * 7, holidays or {})


def ms(text: str, time_zone: str = NEW_YORK, *, fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(time_zone), fold=fold)
    return int(local.timestamp() * 1000)


def test_end_is_exclusive() -> None:
    hours = every_day("10:00-21:00")
    assert not is_open(hours, ms("2026-11-20T10:00") - 1)
    assert is_open(hours, ms("2026-11-20T10:00"))
    assert is_open(hours, ms("2026-11-20T21:00") - 1)
    assert not is_open(hours, ms("2026-11-20T21:00"))


def test_hours_follow_the_malls_time_zone() -> None:
    at_ms = ms("2026-11-20T10:30")
    assert is_open(every_day("10:00-21:00"), at_ms)
    assert not is_open(every_day("10:00-21:00", "America/Los_Angeles"), at_ms)


def test_closing_time_and_next_opening() -> None:
    hours = every_day("10:00-21:00")
    assert closes_at_ms(hours, ms("2026-11-20T12:00")) == ms("2026-11-20T21:00")
    assert closes_at_ms(hours, ms("2026-11-20T22:00")) == ms("2026-11-21T21:00")
    assert next_opening_ms(hours, ms("2026-11-20T12:00")) == ms("2026-11-20T12:00")
    assert next_opening_ms(hours, ms("2026-11-20T21:00")) == ms("2026-11-21T10:00")


def test_daylight_saving_keeps_the_wall_clock() -> None:
    hours = every_day("01:00-05:00")
    begins, ends = ms("2027-03-14T01:00"), ms("2027-03-14T05:00")
    assert ends - begins == 3 * HOUR_MS
    assert next_opening_ms(hours, ms("2027-03-14T00:00")) == begins
    assert closes_at_ms(hours, begins) == ends
    autumn = ms("2026-11-01T01:00")
    closing_ms = closes_at_ms(hours, autumn)
    assert closing_ms is not None
    assert closing_ms - autumn == 5 * HOUR_MS
    assert is_open(hours, ms("2026-11-01T01:30", fold=1))


def test_opening_is_right_on_the_day_daylight_saving_begins() -> None:
    hours = every_day("10:00-21:00")
    saturday, sunday = ms("2027-03-13T10:00"), ms("2027-03-14T10:00")
    assert sunday - saturday == 23 * HOUR_MS
    assert not is_open(hours, sunday - 1)
    assert is_open(hours, sunday)


def test_arizona_has_no_daylight_saving() -> None:
    hours = every_day("10:00-21:00", "America/Phoenix")
    before = next_opening_ms(hours, ms("2027-03-13T09:00", "America/Phoenix"))
    assert next_opening_ms(hours, before + 12 * HOUR_MS) - before == 24 * HOUR_MS


def test_span_past_midnight_belongs_to_its_opening_day() -> None:
    friday_only = OpeningHours(NEW_YORK, ((), (), (), (), parse_spans("18:00-02:00"), (), ()))
    assert is_open(friday_only, ms("2026-11-21T01:59"))
    assert not is_open(friday_only, ms("2026-11-21T02:00"))
    assert not is_open(friday_only, ms("2026-11-20T01:00"))
    assert closes_at_ms(friday_only, ms("2026-11-20T19:00")) == ms("2026-11-21T02:00")


def test_day_may_have_several_spans() -> None:
    hours = every_day("10:00-14:00, 17:00-21:00")
    assert closes_at_ms(hours, ms("2026-11-20T10:00")) == ms("2026-11-20T14:00")
    assert next_opening_ms(hours, ms("2026-11-20T15:00")) == ms("2026-11-20T17:00")


def test_adjacent_spans_are_one_opening() -> None:
    nights = every_day("00:00-02:00, 20:00-24:00")
    assert closes_at_ms(nights, ms("2026-11-20T23:00")) == ms("2026-11-21T02:00")
    assert closes_at_ms(every_day("00:00-24:00"), ms("2026-11-20T23:00")) is None


def test_holiday_replaces_the_hours_of_its_date() -> None:
    holidays = {date(2026, 11, 26): (), date(2026, 11, 27): parse_spans("06:00-22:00")}
    hours = every_day("10:00-21:00", holidays=holidays)
    assert not is_open(hours, ms("2026-11-26T12:00"))
    assert next_opening_ms(hours, ms("2026-11-26T00:00")) == ms("2026-11-27T06:00")
    assert closes_at_ms(hours, ms("2026-11-26T12:00")) == ms("2026-11-27T22:00")


def test_holidays_on_the_only_open_day_do_not_end_the_search() -> None:
    sundays = {date(2026, 11, 22): (), date(2026, 11, 29): (), date(2026, 12, 6): ()}
    hours = OpeningHours(NEW_YORK, ((),) * 6 + (parse_spans("12:00-18:00"),), sundays)
    assert next_opening_ms(hours, ms("2026-11-22T00:00")) == ms("2026-12-13T12:00")


def test_always_open_never_closes() -> None:
    hours = OpeningHours("America/Phoenix")
    assert is_open(hours, 0)
    assert next_opening_ms(hours, 7) == 7
    assert closes_at_ms(hours, 0) is None


@given(at_ms=st.integers(1_700_000_000_000, 1_900_000_000_000))
def test_open_now_closing_later_and_opening_next_agree(at_ms: int) -> None:
    hours = every_day("10:00-14:00, 20:00-03:00", holidays={date(2026, 12, 25): ()})
    opening_ms, closing_ms = next_opening_ms(hours, at_ms), closes_at_ms(hours, at_ms)
    assert closing_ms is not None
    assert at_ms <= opening_ms < closing_ms
    assert is_open(hours, opening_ms)
    assert is_open(hours, closing_ms - 1)
    assert not is_open(hours, closing_ms)
    assert is_open(hours, at_ms) == (opening_ms == at_ms)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("10:00-21:00", ((600, 1260),)),
        ("18:00-02:00", ((1080, 1560),)),
        ("00:00-24:00", ((0, 1440),)),
        ("closed", ()),
    ],
)
def test_spans_are_minutes_of_the_day(text: str, spans: tuple[Span, ...]) -> None:
    assert parse_spans(text) == spans


@pytest.mark.parametrize(
    "text", ["", "10-21", "10:00-25:00", "24:00-02:00", "10:00-21:60", "09:00-12:00, 11:00-13:00"]
)
def test_invalid_spans_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"opening hours|time of day"):
        parse_spans(text)


def test_closed_week_and_unknown_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="seven days"):
        OpeningHours(NEW_YORK, ((),) * 7)
    with pytest.raises(ValueError, match="seven days"):
        OpeningHours(NEW_YORK, (parse_spans("10:00-21:00"),) * 6)
    with pytest.raises(ZoneInfoNotFoundError):
        OpeningHours("America/Nowhere")


ZONES = ("America/Phoenix", "America/Los_Angeles", "America/New_York", "Europe/London")
YEARS = st.integers(1_735_689_600_000, 2_051_222_400_000)  # 2025 to 2034


@given(zone=st.sampled_from(ZONES), at_ms=YEARS, needs_min=st.integers(0, 900))
def test_collection_is_in_the_first_opening_long_enough(
    zone: str, at_ms: int, needs_min: int
) -> None:
    week = (parse_spans("10:00-21:00"),) * 6 + (parse_spans("11:00-18:00"),)
    hours = OpeningHours(zone, week, {date(2026, 12, 25): (), date(2026, 11, 27): ((360, 1380),)})
    start_ms, end_ms = next_collection_ms(hours, at_ms, needs_min * 60_000)
    assert end_ms is not None
    assert at_ms <= start_ms < end_ms
    assert is_open(hours, start_ms)
    if needs_min <= 420:
        assert start_ms + needs_min * 60_000 <= end_ms
        # Only openings that are too short were skipped.
        opens_ms = next_opening_ms(hours, at_ms)
        while opens_ms < start_ms:
            closes_ms = closes_at_ms(hours, opens_ms)
            assert closes_ms is not None
            assert opens_ms + needs_min * 60_000 > closes_ms
            opens_ms = next_opening_ms(hours, closes_ms)
        assert opens_ms == start_ms


@given(zone=st.sampled_from(ZONES), at_ms=YEARS)
def test_every_opening_matches_the_wall_clock(zone: str, at_ms: int) -> None:
    hours = OpeningHours(zone, (parse_spans("10:00-21:00"),) * 7)
    closes_ms = closes_at_ms(hours, at_ms)
    assert closes_ms is not None
    opens_ms = next_opening_ms(hours, closes_ms)
    there = ZoneInfo(zone)
    assert datetime.fromtimestamp(closes_ms / 1000, there).strftime("%H:%M:%S") == "21:00:00"
    assert datetime.fromtimestamp(opens_ms / 1000, there).strftime("%H:%M:%S") == "10:00:00"
    # A night is thirteen hours, except for the two with a clock change.
    assert (opens_ms - closes_ms) / 3_600_000 in {13.0, 12.0, 14.0}


def test_missing_and_repeated_wall_clock_times() -> None:
    hours = OpeningHours("America/New_York", (parse_spans("02:30-04:00"),) * 7)
    there = ZoneInfo("America/New_York")
    # 2026-03-08: 02:00 becomes 03:00. By the offset before the change, 02:30 is 03:30.
    before = datetime(2026, 3, 8, 1, 0, tzinfo=there)
    opens_ms = next_opening_ms(hours, int(before.timestamp() * 1000))
    assert datetime.fromtimestamp(opens_ms / 1000, UTC) == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)
    assert closes_at_ms(hours, opens_ms) == opens_ms + 30 * 60_000
    # 2026-11-01: 02:30 exists once, 01:30 twice; the earlier one counts.
    twice = OpeningHours("America/New_York", (parse_spans("01:30-04:00"),) * 7)
    midnight = datetime(2026, 11, 1, 0, 0, tzinfo=there)
    opens_ms = next_opening_ms(twice, int(midnight.timestamp() * 1000))
    assert datetime.fromtimestamp(opens_ms / 1000, UTC) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert closes_at_ms(twice, opens_ms) == opens_ms + 210 * 60_000


def test_first_opening_is_used_if_all_are_too_short() -> None:
    hours = OpeningHours("UTC", (parse_spans("10:00-10:05"),) * 7)
    at_ms = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp() * 1000)
    assert next_collection_ms(hours, at_ms, 600_000)[0] == next_opening_ms(hours, at_ms)
    assert next_collection_ms(OpeningHours("UTC"), at_ms, 600_000) == (at_ms, None)


def test_hours_of_one_day_a_week_close_again() -> None:
    week: list[tuple[Span, ...]] = [()] * 7
    week[0] = parse_spans("10:00-12:00")
    hours = OpeningHours(NEW_YORK, tuple(week))
    assert opening_at(hours, ms("2026-11-23T13:00")) == (
        ms("2026-11-30T10:00"),
        ms("2026-11-30T12:00"),
    )


# Hours together


def test_hours_together_are_what_all_have_in_common() -> None:
    mall, shop = every_day("10:00-21:00"), every_day("12:00-14:00, 16:00-23:00")
    both = together((mall, shop))
    noon = ms("2026-11-20T12:00")
    assert opening_at(both, ms("2026-11-20T10:00")) == (noon, noon + 2 * HOUR_MS)
    assert opening_at(both, noon + 2 * HOUR_MS) == (noon + 4 * HOUR_MS, noon + 9 * HOUR_MS)
    assert opening_at(both, noon + 9 * HOUR_MS).from_ms == ms("2026-11-21T12:00")


def test_hours_without_limit_change_nothing() -> None:
    always, shop = OpeningHours(NEW_YORK), every_day("12:00-14:00")
    assert together((always, shop)) is shop
    assert together((shop, always)) is shop
    assert together((always, always)).week is None


def test_hours_with_nothing_in_common_are_never_open() -> None:
    never = together((every_day("08:00-12:00"), every_day("12:00-20:00")))
    at_ms = ms("2026-11-20T10:00")
    assert opening_at(never, at_ms) == NEVER
    assert not is_open(never, at_ms)
    assert next_collection_ms(never, at_ms, 0) == NEVER


def test_common_opening_past_a_holiday_is_found() -> None:
    closed: dict[date, tuple[Span, ...]] = {date(2026, 11, day): () for day in range(21, 31)}
    both = together((every_day("00:00-24:00", holidays=closed), every_day("10:00-18:00")))
    assert next_opening_ms(both, ms("2026-11-20T19:00")) == ms("2026-12-01T10:00")


_days = st.sampled_from(
    ("10:00-21:00", "closed", "00:00-24:00", "09:00-12:00, 14:00-18:30", "18:00-02:00")
)
_weeks = st.lists(_days, min_size=7, max_size=7).filter(lambda week: set(week) != {"closed"})


@given(weeks=st.lists(_weeks, min_size=1, max_size=3), at_min=st.integers(0, 14 * 1_440))
def test_together_is_open_when_all_are(weeks: list[list[str]], at_min: int) -> None:
    every = [OpeningHours(NEW_YORK, tuple(map(parse_spans, week))) for week in weeks]
    both, at_ms = together(every), ms("2026-11-20T00:00") + at_min * 60_000
    assert is_open(both, at_ms) == all(is_open(hours, at_ms) for hours in every)
    opens = opening_at(both, at_ms)
    if opens == NEVER:
        return
    moments = [max(opens.from_ms, at_ms)] + ([] if opens.to_ms is None else [opens.to_ms - 1])
    assert all(is_open(hours, moment) for hours in every for moment in moments)
    if opens.to_ms is not None:
        assert not all(is_open(hours, opens.to_ms) for hours in every)
    between_ms = range(at_ms, min(opens.from_ms, at_ms + 24 * HOUR_MS), 30 * 60_000)
    assert not any(all(is_open(hours, at) for hours in every) for at in between_ms)
