"""The ledger of the parcels, compared with what the engine says."""

import pytest

from mallard_engine.workload.bad_day.events import BadEvent
from mallard_engine.workload.bad_day.ledger import Accounts, JobEnd, Ledger, added, settle

BEST_BY_MS = 1_000


def ledger(event: BadEvent | None = None) -> Ledger:
    it = Ledger()
    it.ordered("j", event, BEST_BY_MS)
    return it


def accounts(of: Ledger, state: str, driver: str | None = None, reason: str = "") -> Accounts:
    return settle(of, {"j": JobEnd(state, driver, reason)})


def delivered(at_ms: int = BEST_BY_MS) -> Ledger:
    it = ledger()
    it.collected("j", "ann")
    it.delivered("j", "ann", at_ms)
    return it


def test_delivered_order_is_accounted_for() -> None:
    found = accounts(delivered(), "delivered", "ann")
    assert found.wrongs == found.in_vain == ()
    assert found.rows == {("with the customer", "delivered", "", ""): 1}
    assert (found.deliverable, found.on_time, found.on_time_percent) == (1, 1, 100.0)


def test_late_and_undelivered_orders_are_not_on_time() -> None:
    assert accounts(delivered(BEST_BY_MS + 1), "delivered", "ann").on_time == 0
    assert accounts(ledger(), "expired").on_time_percent == 0.0


@pytest.mark.parametrize(("soonest_ms", "impossible"), [(BEST_BY_MS, 0), (BEST_BY_MS + 1, 1)])
def test_late_order_no_driver_could_deliver_in_time_is_counted(
    soonest_ms: int, impossible: int
) -> None:
    it = Ledger()
    it.ordered("j", None, BEST_BY_MS, soonest_ms)
    found = accounts(it, "expired")
    assert (found.deliverable, found.impossible) == (1, impossible)
    assert (found.on_time_percent, found.possible_on_time_percent) == (0.0, 100.0 * impossible)
    assert added([found, found]).impossible == 2 * impossible


@pytest.mark.parametrize("event", [BadEvent.MISSING, BadEvent.REFUSED, BadEvent.CANCELLED])
def test_undeliverable_order_need_not_be_on_time(event: BadEvent) -> None:
    assert accounts(ledger(event), "failed").deliverable == 0


def test_transferred_parcels_have_two_drivers_in_order() -> None:
    it = ledger()
    it.collected("j", "ann")
    it.handed_over("j", "ann", "bob")
    assert it.parcels["j"].handled == ["ann", "bob"]
    assert accounts(it, "picked_up", "bob").wrongs == ()
    assert accounts(it, "picked_up", "ann").wrongs


@pytest.mark.parametrize(
    ("state", "driver"),
    [
        ("picked_up", "ann"),
        ("returned", "ann"),
        ("failed", None),
        ("queued", None),
        ("lost", "ann"),
        ("delivered", "bob"),
    ],
)
def test_engine_that_says_otherwise_is_wrong(state: str, driver: str | None) -> None:
    assert accounts(delivered(), state, driver).wrongs


def test_parcel_that_two_drivers_collect_is_wrong() -> None:
    it = ledger()
    it.collected("j", "ann")
    it.collected("j", "bob")
    assert accounts(it, "picked_up", "bob").wrongs


def test_delivery_by_a_driver_without_the_parcel_is_wrong() -> None:
    it = ledger()
    it.collected("j", "ann")
    it.brought_back("j", "bob")
    assert accounts(it, "returned", "bob").wrongs


def test_job_of_one_side_only_is_wrong() -> None:
    assert settle(ledger(), {}).wrongs == ("j is unknown to the engine",)
    assert settle(Ledger(), {"k": JobEnd("queued", None, None)}).wrongs


def test_driver_sent_for_absent_parcels_is_in_vain() -> None:
    it = ledger(BadEvent.MISSING)
    it.sent("j", "ann")
    it.absent("j")
    assert not it.in_vain
    it.sent("j", "bob")
    assert it.in_vain == ["bob for j"]
    it.found("j")
    it.sent("j", "bob")
    assert len(it.in_vain) == 1


def test_accounts_of_days_are_added() -> None:
    one = accounts(delivered(), "delivered", "ann")
    both = added([one, accounts(ledger(), "expired")])
    assert (both.deliverable, both.on_time) == (2, 1)
    assert sum(both.rows.values()) == 2
