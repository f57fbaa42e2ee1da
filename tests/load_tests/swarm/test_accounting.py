from typing import Any

import pytest

from load_tests.measurements import Measure
from load_tests.swarm.accounting import Accounts, Window
from load_tests.swarm.event_log import Happened, Notebook


def notes(until_s: float, *events: tuple[Any, ...]) -> dict[str, Any]:
    book = Notebook()
    for at_s, kind, *what in events:
        book.event(at_s, kind, *what)
    return book.take() | {"until_s": until_s}


def accounts(workers: int, from_s: float = 0.0) -> tuple[Accounts, Window]:
    books = Accounts(workers)
    window = books.window = Window(from_s)
    return books, window


def count(window: Window, measure: Measure) -> int:
    return window.histograms[measure.value].count


def test_an_order_and_its_offer_may_come_to_two_workers() -> None:
    books, window = accounts(2)
    books.take(0, notes(3.0, (1.02, Happened.POSTED, "job", 1.0, Measure.POST_JOB.value)))
    assert count(window, Measure.OFFER) == 0
    books.take(1, notes(3.0, (1.01, Happened.OFFERED, "job")))
    assert window.histograms[Measure.OFFER.value].max_ms == pytest.approx(10.0, rel=1e-3)


def test_what_a_slower_worker_may_still_tell_is_waited_for() -> None:
    """The second driver's offer is told before the first one's decline, but happened after it."""
    books, window = accounts(2)
    books.take(0, notes(1.0, (0.5, Happened.POSTED, "job", 0.4, Measure.POST_JOB.value)))
    books.take(1, notes(5.0, (0.6, Happened.OFFERED, "job"), (2.5, Happened.OFFERED, "job")))
    books.take(0, notes(5.0, (2.0, Happened.DECLINED, "offer", ["job"])))
    assert count(window, Measure.OFFER) == 1
    assert window.histograms[Measure.REASSIGN_DECLINED.value].max_ms == pytest.approx(
        500.0, rel=1e-3
    )


def test_a_measure_belongs_to_the_window_in_which_it_began() -> None:
    books, window = accounts(1, from_s=10.0)
    window.to_s = 20.0
    for name, due_s in (("early", 9.9), ("in", 10.0), ("late", 20.0)):
        books.take(
            0,
            notes(
                due_s + 3,
                (due_s + 1, Happened.POSTED, name, due_s, Measure.POST_JOB.value),
                (due_s + 2, Happened.OFFERED, name),
            ),
        )
    assert count(window, Measure.OFFER) == 1


def test_a_flash_sales_orders_are_counted_apart_whichever_comes_first() -> None:
    books, window = accounts(1)
    flash = Measure.POST_BURST.value
    books.take(0, notes(2.0, (1.0, Happened.POSTED, "a", 0.9, flash), (1.1, Happened.OFFERED, "a")))
    books.take(0, notes(4.0, (3.0, Happened.OFFERED, "b"), (3.1, Happened.POSTED, "b", 2.9, flash)))
    assert count(window, Measure.OFFER_BURST) == 2
    assert count(window, Measure.OFFER) == 0


def test_an_order_without_an_offer_has_failed_after_its_grace() -> None:
    books, window = accounts(1)
    books.take(0, notes(2.0, (1.0, Happened.POSTED, "job", 0.9, Measure.POST_JOB.value)))
    books.settle(3.0, grace_s=5.0)
    assert count(window, Measure.OFFER) == 0
    books.settle(6.0, grace_s=5.0)
    assert window.histograms[Measure.OFFER.value].failures == 1
    assert books.counts["offer latency: no offer came"] == 1


def test_samples_and_counts_of_a_worker_are_taken_over() -> None:
    books, window = accounts(1)
    book = Notebook()
    book.sample(Measure.ACCEPT, 1.0, 1.004)
    book.failure(Measure.POST_JOB, 1.0, "503 draining")
    book.count("delivered")
    books.take(0, book.take() | {"until_s": 2.0})
    assert window.histograms[Measure.ACCEPT.value].max_ms == pytest.approx(4.0, rel=1e-3)
    assert window.histograms[Measure.POST_JOB.value].failures == 1
    assert books.counts == {"delivered": 1, "POST /v1/jobs: 503 draining": 1}
