"""Lateness read from timelines."""

from mallard_engine.demo.reassignment_times import reassignment_times
from tests.engine.demo.jobs import a_job

LIMITS_MS = {"expired": 5_000, "unacknowledged": 3_000}


def test_declined_offer_counts_from_the_decline() -> None:
    job = a_job(
        "j1",
        (0, "queued", "submitted"),
        (0.002, "offered", "offered"),
        (0.4, "queued", "declined"),
        (0.403, "offered", "offered"),
        (1, "assigned", "accepted"),
    )
    found = reassignment_times([job], LIMITS_MS)
    assert found.after_decline == [3.0]
    assert found.by_cause == {"declined": 1}
    assert found.end_lateness == found.after_end == []
    assert found.without_next == 0


def test_unanswered_offer_counts_from_its_limit() -> None:
    job = a_job(
        "j1",
        (0, "offered", "offered"),
        (5.010, "queued", "expired"),
        (5.015, "offered", "offered"),
        (8.020, "queued", "unacknowledged"),
        (8.090, "offered", "offered"),
    )
    found = reassignment_times([job], LIMITS_MS)
    assert found.end_lateness == [10.0, 5.0]
    assert found.after_end == [15.0, 75.0]


def test_job_without_a_next_offer_is_counted() -> None:
    job = a_job(
        "j1",
        (0, "offered", "offered"),
        (1, "queued", "declined"),
        (9, "expired", "expired"),
    )
    found = reassignment_times([job], LIMITS_MS)
    assert found.after_decline == []
    assert found.without_next == 1
