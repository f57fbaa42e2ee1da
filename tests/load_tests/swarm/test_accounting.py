from typing import Any

import pytest

from load_tests.drivers.recorder import EventKind
from load_tests.measurements import Measure
from load_tests.swarm.accounting import Accounting, Window
from load_tests.swarm.event_log import EventLog


def log(until_s: float, *events: tuple[Any, ...]) -> dict[str, Any]:
    entries = EventLog()
    for at_s, kind, *what in events:
        entries.event(at_s, kind, *what)
    return entries.take() | {"until_s": until_s}


def accounting(workers: int, from_s: float = 0.0) -> tuple[Accounting, Window]:
    ledger = Accounting(workers)
    window = ledger.window = Window(from_s)
    return ledger, window


def count(window: Window, measure: Measure) -> int:
    return window.histograms[measure.value].count


def test_order_and_offer_of_two_workers_are_joined() -> None:
    ledger, window = accounting(2)
    ledger.take(0, log(3.0, (1.02, EventKind.POSTED, "job", 1.0, Measure.POST_JOB.value)))
    assert count(window, Measure.OFFER) == 0
    ledger.take(1, log(3.0, (1.01, EventKind.OFFERED, "job")))
    assert window.histograms[Measure.OFFER.value].max_ms == pytest.approx(10.0, rel=1e-3)


def test_events_wait_for_the_slowest_worker() -> None:
    """The second driver's offer is logged before the first one's decline, but happened after it."""
    ledger, window = accounting(2)
    ledger.take(0, log(1.0, (0.5, EventKind.POSTED, "job", 0.4, Measure.POST_JOB.value)))
    ledger.take(1, log(5.0, (0.6, EventKind.OFFERED, "job"), (2.5, EventKind.OFFERED, "job")))
    ledger.take(0, log(5.0, (2.0, EventKind.DECLINED, "offer", ["job"])))
    assert count(window, Measure.OFFER) == 1
    assert window.histograms[Measure.REASSIGN_DECLINED.value].max_ms == pytest.approx(
        500.0, rel=1e-3
    )


def test_measure_belongs_to_the_window_of_its_start() -> None:
    ledger, window = accounting(1, from_s=10.0)
    window.to_s = 20.0
    for name, due_s in (("early", 9.9), ("in", 10.0), ("late", 20.0)):
        ledger.take(
            0,
            log(
                due_s + 3,
                (due_s + 1, EventKind.POSTED, name, due_s, Measure.POST_JOB.value),
                (due_s + 2, EventKind.OFFERED, name),
            ),
        )
    assert count(window, Measure.OFFER) == 1


def test_flash_sale_is_counted_separately_in_either_order() -> None:
    ledger, window = accounting(1)
    flash = Measure.POST_BURST.value
    ledger.take(
        0, log(2.0, (1.0, EventKind.POSTED, "a", 0.9, flash), (1.1, EventKind.OFFERED, "a"))
    )
    ledger.take(
        0, log(4.0, (3.0, EventKind.OFFERED, "b"), (3.1, EventKind.POSTED, "b", 2.9, flash))
    )
    assert count(window, Measure.OFFER_BURST) == 2
    assert count(window, Measure.OFFER) == 0


def test_order_without_an_offer_fails_after_its_grace() -> None:
    ledger, window = accounting(1)
    ledger.take(0, log(2.0, (1.0, EventKind.POSTED, "job", 0.9, Measure.POST_JOB.value)))
    ledger.settle(3.0, grace_s=5.0)
    assert count(window, Measure.OFFER) == 0
    ledger.settle(6.0, grace_s=5.0)
    assert window.histograms[Measure.OFFER.value].failures == 1
    assert ledger.counts["offer latency: no offer came"] == 1


def test_samples_and_counts_of_a_worker_are_taken() -> None:
    ledger, window = accounting(1)
    events = EventLog()
    events.sample(Measure.ACCEPT, 1.0, 1.004)
    events.failure(Measure.POST_JOB, 1.0, "503 draining")
    events.count("delivered")
    ledger.take(0, events.take() | {"until_s": 2.0})
    assert window.histograms[Measure.ACCEPT.value].max_ms == pytest.approx(4.0, rel=1e-3)
    assert window.histograms[Measure.POST_JOB.value].failures == 1
    assert ledger.counts == {"delivered": 1, "POST /v1/jobs: 503 draining": 1}
