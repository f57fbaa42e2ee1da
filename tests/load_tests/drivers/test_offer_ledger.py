from load_tests.drivers.offer_ledger import MAX_EARLY, Ledger
from load_tests.measurements import Measure


def test_offer_after_the_201_is_measured_from_the_due_time() -> None:
    ledger = Ledger()
    assert ledger.posted("job-1", due_s=10.0) is None
    assert ledger.offered("job-1", 10.5) == (Measure.OFFER, 0.5)


def test_offer_may_come_before_the_201() -> None:
    ledger = Ledger()
    assert ledger.offered("job-1", 10.5) is None
    assert ledger.posted("job-1", due_s=10.0) == 0.5
    assert list(ledger.overdue(100.0, grace_s=5.0)) == []


def test_decline_is_measured_to_the_next_offer_and_no_further() -> None:
    ledger = Ledger()
    ledger.posted("job-1", due_s=10.0)
    ledger.offered("job-1", 10.5)
    ledger.declined("offer-1", ["job-1"], 12.0)
    assert ledger.offered("job-1", 12.25) == (Measure.REASSIGN_DECLINED, 0.25)
    assert ledger.offered("job-1", 20.0) is None


def test_lateness_counts_from_the_limit() -> None:
    ledger = Ledger()
    ledger.left_open("offer-1", ["job-1"], limit_s=40.0)
    ledger.left_open("offer-2", ["job-2"], limit_s=40.0)
    assert ledger.offered("job-1", 40.25) == (Measure.REASSIGN_LATENESS, 0.25)
    # The frame's way is not part of the limit as the driver knows it.
    assert ledger.offered("job-2", 39.999) == (Measure.REASSIGN_LATENESS, 0.0)


def test_withdrawn_offer_measures_nothing() -> None:
    ledger = Ledger()
    ledger.left_open("offer-1", ["job-1", "job-2"], limit_s=40.0)
    ledger.withdrawn("offer-1")
    ledger.withdrawn("offer-1")
    assert ledger.offered("job-1", 20.0) is None


def test_end_of_an_older_offer_keeps_a_newer_one() -> None:
    ledger = Ledger()
    ledger.left_open("offer-1", ["job-1"], limit_s=40.0)
    ledger.declined("offer-2", ["job-1"], 41.0)
    ledger.withdrawn("offer-1")
    assert ledger.offered("job-1", 41.5) == (Measure.REASSIGN_DECLINED, 0.5)


def test_overdue_jobs_are_reported_once() -> None:
    ledger = Ledger()
    ledger.posted("old", due_s=10.0)
    ledger.posted("new", due_s=18.0)
    ledger.declined("offer-1", ["declined"], 11.0)
    ledger.left_open("offer-2", ["open"], limit_s=25.0)
    assert set(ledger.overdue(20.0, grace_s=5.0)) == {
        (Measure.OFFER, 10.0),
        (Measure.REASSIGN_DECLINED, 9.0),
    }
    assert list(ledger.overdue(20.0, grace_s=5.0)) == []
    assert ledger.offered("new", 20.0) == (Measure.OFFER, 2.0)


def test_offers_of_foreign_jobs_are_bounded() -> None:
    ledger = Ledger()
    for number in range(MAX_EARLY + 1):
        ledger.offered(f"job-{number}", float(number))
    assert ledger.posted("job-0", due_s=0.0) is None
    assert ledger.posted("job-1", due_s=0.0) == 1.0
