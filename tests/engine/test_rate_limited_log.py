"""A log line that may come often comes once an interval, with a count."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from mallard_engine.logs import CountingLog, LibraryLimit, RateLimitedLog
from tests.support import eventually


class Lines:
    """What was logged, as (level, event, fields)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.all.append((level, event, fields))


class Clock:
    """Stands still while a test counts events; the timer of an interval's end runs all the same."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.finding("B14")
async def test_first_event_is_logged_and_the_rest_are_counted() -> None:
    lines = Lines()
    clock = Clock()
    log = RateLimitedLog(lines, interval_s=0.2, clock=clock)
    for _ in range(300):
        log.info("refused", reason="draining")
    assert lines.all == [("info", "refused", {"reason": "draining"})]
    await eventually(lambda: len(lines.all) == 2)
    assert lines.all[1] == ("info", "refused", {"reason": "draining", "count": 299})
    await asyncio.sleep(0.25)
    assert len(lines.all) == 2
    clock.now_s += 0.2
    log.info("refused", reason="draining")
    assert lines.all[2] == ("info", "refused", {"reason": "draining"})


async def test_levels_and_fields_have_lines_of_their_own() -> None:
    lines = Lines()
    log = RateLimitedLog(lines, interval_s=60)
    for _ in range(2):
        log.info("refused", reason="draining")
        log.info("refused", reason="bad_token")
        log.warning("refused", reason="draining")
    assert [(level, fields["reason"]) for level, _, fields in lines.all] == [
        ("info", "draining"),
        ("info", "bad_token"),
        ("warning", "draining"),
    ]


def test_many_different_fields_share_a_line() -> None:
    lines = Lines()
    log = RateLimitedLog(lines, interval_s=60)
    for number in range(10_000):
        log.error("refused", job=f"j{number}")
    assert len(lines.all) == 65
    assert lines.all[-1] == ("error", "refused", {})


def test_without_a_loop_the_count_comes_with_the_next_event() -> None:
    lines = Lines()
    clock = Clock()
    log = RateLimitedLog(lines, interval_s=1, clock=clock)

    def work() -> None:
        log.error("disk full")
        log.error("disk full")
        clock.now_s += 1
        log.error("disk full")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [fields for *_, fields in lines.all] == [{}, {"count": 2}]


async def test_what_was_counted_is_logged_when_the_trouble_is_over() -> None:
    lines = Lines()
    log = RateLimitedLog(lines, interval_s=0.2, clock=Clock())
    for _ in range(3):
        log.error("still down")
    log.flush()
    log.flush()
    assert lines.all == [("error", "still down", {}), ("error", "still down", {"count": 2})]
    await asyncio.sleep(0.3)
    assert len(lines.all) == 2


def test_an_example_is_on_the_line_of_one_event_only() -> None:
    lines = Lines()
    log = RateLimitedLog(lines, interval_s=0)
    log.warning("not yours", example={"job": "j1"})
    assert lines.all == [("warning", "not yours", {"job": "j1"})]


@pytest.mark.finding("A8")
async def test_examples_do_not_make_events_different() -> None:
    lines = Lines()
    log = RateLimitedLog(lines, interval_s=0.1, clock=Clock())
    for number in range(100):
        log.warning("not yours", example={"job": f"j{number}"})
    await eventually(lambda: len(lines.all) == 2)
    assert [fields for _, _, fields in lines.all] == [{"job": "j0"}, {"count": 99}]


@pytest.mark.finding("A8", "B14")
async def test_a_tally_is_one_line_for_all_reasons() -> None:
    lines = Lines()
    tally = CountingLog(lines, "refused", interval_s=0.1, clock=Clock())
    for number in range(100):
        tally.count(f"reason {number % 4}")
    assert lines.all == [("info", "refused", {"count": 1, "reasons": {"reason 0": 1}})]
    await eventually(lambda: len(lines.all) == 2)
    reasons = {"reason 0": 24, "reason 1": 25, "reason 2": 25, "reason 3": 25}
    assert lines.all[1] == ("info", "refused", {"count": 99, "reasons": reasons})
    await asyncio.sleep(0.15)
    assert len(lines.all) == 2


@pytest.mark.finding("A8")
def test_a_librarys_message_passes_once_an_interval() -> None:
    now = 0.0
    limit = LibraryLimit(interval_s=1.0, clock=lambda: now)

    def passes(name: str, text: str = "socket.send() raised exception") -> str | None:
        record = logging.LogRecord(name, logging.WARNING, "", 0, text, (), None)
        return record.getMessage() if limit.filter(record) else None

    assert passes("asyncio")
    assert [passes("asyncio") for _ in range(50)] == [None] * 50
    assert passes("uvicorn.error")
    assert passes("asyncio", "another")
    assert passes("mallard_engine.gateway")
    assert passes("mallard_engine.gateway")
    now = 1.5
    assert passes("asyncio") == "socket.send() raised exception [50 more before]"
    assert sum(passes("asyncio", f"{number}") is not None for number in range(1_000)) < 100
