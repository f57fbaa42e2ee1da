"""A log line that may come often comes once an interval, with a count."""

import asyncio
import threading
from typing import Any

import pytest

from engine.logs import RateLimitedLog
from tests.support import eventually


class Lines:
    """What was logged, as (level, event, fields)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.all.append((level, event, fields))


@pytest.mark.finding("B14")
async def test_first_event_is_logged_and_the_rest_are_counted() -> None:
    lines = Lines()
    log = RateLimitedLog(lines, interval_s=0.2)
    for _ in range(300):
        log.info("refused", reason="draining")
    assert lines.all == [("info", "refused", {"reason": "draining"})]
    await eventually(lambda: len(lines.all) == 2)
    assert lines.all[1] == ("info", "refused", {"reason": "draining", "count": 299})
    await asyncio.sleep(0.25)
    assert len(lines.all) == 2
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
    log = RateLimitedLog(lines, interval_s=0.05)

    def work() -> None:
        log.error("disk full")
        log.error("disk full")
        threading.Event().wait(0.1)
        log.error("disk full")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [fields for *_, fields in lines.all] == [{}, {"count": 2}]
