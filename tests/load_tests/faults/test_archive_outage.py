"""The archive is killed and its database stopped; see load_tests/faults/archive_outage.py."""

import asyncio
from typing import cast

import pytest

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.postgres import programs
from load_tests.faults.archive_outage import main, order_until
from load_tests.faults.outage import Shop


class SlowShop:
    """Its orders are jobs before it knows them."""

    def __init__(self) -> None:
        self.begun = 0
        self.known = 0

    async def order(self) -> None:
        self.begun += 1
        await asyncio.sleep(0.1)
        self.known += 1


async def test_orders_under_way_at_the_end_are_answered() -> None:
    shop, enough = SlowShop(), asyncio.Event()
    ordering = asyncio.create_task(order_until(enough, cast("Shop", shop), 200))
    await asyncio.sleep(0.05)
    enough.set()
    await ordering
    assert shop.begun
    assert shop.known == shop.begun


@pytest.mark.slow
def test_every_ended_job_is_archived_once_through_outages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        programs()
    except CannotMeasure as why:
        pytest.skip(str(why))
    flags = ("--away", "12", "--around", "4", "--kills", "2", "--rate", "2", "--drivers", "10")
    assert main(flags) == 0, capsys.readouterr().out
