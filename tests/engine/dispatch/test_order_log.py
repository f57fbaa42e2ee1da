"""The orders that a node remembers, as bytes."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.dispatch.confirmed import OrderLog
from mallard_engine.ports import ConfirmedOrder

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ORDERS = st.lists(
    st.builds(ConfirmedOrder, TEXTS, TEXTS, TEXTS, st.integers(0, 1 << 53)), max_size=12
)


@given(orders=ORDERS, since=st.integers(0, 12))
def test_orders_come_back_as_they_were_until_they_are_old(
    orders: list[ConfirmedOrder], since: int
) -> None:
    log = OrderLog(1_000)
    for number, order in enumerate(orders):
        log.add(float(number), order)
    timed = [(float(number), order) for number, order in enumerate(orders)]
    assert list(log) == timed
    assert log.newest_s == (timed[-1][0] if timed else -math.inf)
    log.drop_before(float(since))
    assert list(log) == timed[since:]
    assert len(log) == len(timed[since:])


@given(orders=ORDERS, data=st.data())
def test_removed_jobs_are_forgotten(orders: list[ConfirmedOrder], data: st.DataObject) -> None:
    log = OrderLog(1_000)
    for order in orders:
        log.add(1.0, order)
    gone = data.draw(st.sets(st.sampled_from([it.job for it in orders]))) if orders else set()
    log.remove(gone)
    assert [order for _, order in log] == [it for it in orders if it.job not in gone]
    assert len(log) == len(list(log))


def test_oldest_order_is_dropped_beyond_the_most() -> None:
    log = OrderLog(2)
    orders = [ConfirmedOrder(f"job-{number}", "shop", "", 0) for number in range(4)]
    for number, order in enumerate(orders):
        log.add(float(number), order)
    assert list(log) == [(2.0, orders[2]), (3.0, orders[3])]


def test_orders_added_while_all_are_read_are_no_part_of_it() -> None:
    log = OrderLog(10)
    log.add(1.0, ConfirmedOrder("first", "shop", "", 0))
    for at_s, order in log:
        log.add(at_s + 1, order._replace(job="second"))
    assert len(log) == 2


def test_order_takes_little_more_than_its_texts() -> None:
    log = OrderLog(10_000)
    job = "job_phoenix.01" + "A" * 24
    for _ in range(1_000):
        log.add(1.0, ConfirmedOrder(job, "shop", "order-17", 1_800_000_000_000))
    assert len(log._packed) / 1_000 < 120
