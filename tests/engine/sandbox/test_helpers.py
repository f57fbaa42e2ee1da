"""The shops and the robot orders go on after a refusal, and end for want of a token."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mallard_client.errors import ApiProblem
from mallard_engine.core.places.markets import Places
from mallard_engine.sandbox import shops, team_orders
from mallard_engine.sandbox.shops import Shops
from mallard_engine.sandbox.team_orders import TeamOrders
from tests.support import GUARD_S, eventually


class Refusing:
    """A client whose calls are refused with `status`; `asked` has what they were for."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[str] = []

    async def jobs(self, **_: Any) -> AsyncIterator[Any]:
        none: list[Any] = []
        for job in none:
            yield job

    async def get(self, job: str) -> Any:
        return self._refuse(job)

    async def drivers(self, market: str) -> Any:
        return self._refuse(market)

    def _refuse(self, what: str) -> Any:
        self.asked.append(what)
        raise ApiProblem(self.status, "wrong_state", "no")


async def test_shops_go_on_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shops, "_FOUND_AFTER_S", 0.0)
    operator: Any = Refusing(409)
    found = Shops("http://here", operator, lambda _mall, _store: "token")
    running = asyncio.create_task(found.run())
    found.will_find("a")
    await eventually(lambda: operator.asked == ["a"])
    found.will_find("b")
    await eventually(lambda: operator.asked == ["a", "b"])
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize(("status", "ends"), [(429, False), (409, False), (401, True), (403, True)])
async def test_robot_orders_end_for_want_of_a_token(
    monkeypatch: pytest.MonkeyPatch, status: int, *, ends: bool
) -> None:
    monkeypatch.setattr(team_orders, "_LOOK_EVERY_S", 0.01)
    client: Any = Refusing(status)
    market = Places.load(sandbox=True).market("sandbox")
    running = asyncio.create_task(TeamOrders(market, client, client, 1).run())
    if ends:
        with pytest.raises(ApiProblem):
            await asyncio.wait_for(running, GUARD_S)
    else:
        await eventually(lambda: len(client.asked) > 2)
        assert not running.done()
        running.cancel()
