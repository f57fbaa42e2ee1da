"""Robot orders: test orders for the drivers of teams that develop an app.

As long as drivers that are no robots are connected in the sandbox, each of them finds orders there,
up to a configured number of open ones. They name the ending `your_driver`, so no robot takes them.
"""

import asyncio
import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import structlog

from mallard_client.errors import ApiProblem
from mallard_client.operator_client import OperatorClient
from mallard_client.orders.client import OrderClient
from mallard_engine.contract.sandbox import KEY, PIN, ROBOT, Ending
from mallard_engine.core.places.mall import Mall, Market
from mallard_engine.logs import RateLimitedLog
from mallard_engine.workload.random_points import point_around
from mallard_protocol.codes import SANDBOX_MARKET

_log = RateLimitedLog(structlog.get_logger(__name__))
_NO_TOKEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LOOK_EVERY_S: Final = 1.0
_MOST_OPEN: Final = 50
_WINDOW: Final = timedelta(minutes=10)
_DEADLINE: Final = timedelta(minutes=40)
_DROPOFF_WITHIN_M: Final = 3_000.0
# What the orders ask for, in turn.
_KINDS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"proof_required": ["photo"]},
    {"proof_required": ["pin"]},
    {"proof_required": ["signature"]},
)


class TeamOrders:
    """See the module.

    Args:
        market: the sandbox.
        operator: reads which drivers are connected.
        orders: the order service that owns the robot orders.
        each: how many open orders there are for each driver.
    """

    def __init__(
        self, market: Market, operator: OperatorClient, orders: OrderClient, each: int
    ) -> None:
        self._malls = [mall for mall in market.malls.values() if mall.kind == "mall"]
        self._operator = operator
        self._orders = orders
        self._each = each
        self._rng = random.Random()  # noqa: S311 - a simulation's chance
        self._kinds = itertools.cycle(_KINDS)
        self._open: set[str] = set()

    async def run(self) -> None:
        """Keep enough robot orders open until cancelled."""
        async for job in self._orders.jobs(market=SANDBOX_MARKET):
            if not job.terminal:
                self._open.add(job.id)
        while True:
            try:
                await self._fill_up()
            except ApiProblem as problem:
                if problem.status in _NO_TOKEN:
                    raise  # the crew starts again, with new tokens
                _log.warning("no robot order", market=SANDBOX_MARKET, reason=problem.code)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _fill_up(self) -> None:
        people = [
            driver
            for driver in await self._operator.drivers(SANDBOX_MARKET)
            if driver.connected and ROBOT not in driver.qualifications
        ]
        if people or self._open:
            self._open = {job for job in self._open if await self._is_open(job)}
        while len(self._open) < min(_MOST_OPEN, self._each * len(people)):
            self._open.add((await self._orders.submit(self._order())).id)

    async def _is_open(self, job: str) -> bool:
        try:
            return not (await self._orders.get(job)).terminal
        except ApiProblem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise
            return False  # Redis has lost or forgotten it

    def _order(self) -> dict[str, Any]:
        mall: Mall = self._rng.choice(self._malls)
        store = self._rng.choice(list(mall.stores))
        lat, lon = point_around((mall.lat, mall.lon), _DROPOFF_WITHIN_M, self._rng)
        now = datetime.now(UTC)
        kind = next(self._kinds)
        pin = {"pin": PIN} if "pin" in kind.get("proof_required", ()) else {}
        return {
            "external_id": f"robot-order-{uuid.uuid4().hex}",
            "pickup": {
                "mall": mall.id,
                "stores": [{"store": store, "parcels": self._rng.choice((1, 2))}],
                "window_end": (now + _WINDOW).isoformat(),
            },
            "dropoff": {
                "lat": lat,
                "lon": lon,
                "name": "Robin Robot",
                "note": "A robot order of the sandbox",
                "deadline": (now + _DEADLINE).isoformat(),
                **pin,
            },
            "metadata": {KEY: Ending.YOUR_DRIVER.value},
            **kind,
        }
