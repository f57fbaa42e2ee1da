"""The robots of one node at work, with their shops, their operator and the robot orders."""

import asyncio
import random
from functools import partial
from typing import Final, Protocol

import structlog

from mallard_client.operator_client import OperatorClient
from mallard_client.orders.client import OrderClient
from mallard_engine.contract.sandbox import ROBOT
from mallard_engine.core.places.mall import Market
from mallard_engine.sandbox.robot import Robot
from mallard_engine.sandbox.shops import Shops
from mallard_engine.sandbox.team_orders import TeamOrders
from mallard_engine.workload.fleet_driver import Habits
from mallard_engine.workload.fleet_tally import FleetTally
from mallard_engine.workload.random_points import point_around
from mallard_protocol.codes import SANDBOX_MARKET, SUBPROTOCOL_MSGPACK, Role
from mallard_protocol.messages import Vehicle

_log = structlog.get_logger(__name__)
_OPERATOR: Final = "sandbox:operator"
_SERVICE: Final = "sandbox:robot-orders"
# Tokens are valid for longer than a shift, after which the robots get new ones.
_SHIFT_S: Final = 6 * 3600.0
_TOKEN_TTL_S: Final = 7 * 3600.0
_HOME_WITHIN_M: Final = 1_500.0
_REPLACED_AFTER_S: Final = 1.0
_TRIM_EVERY_S: Final = 10.0
_MOST_REMEMBERED: Final = 1_000
_HABITS: Final = Habits(
    speed_mps=1_000.0,
    report_every_ms=500,
    decline=0.0,
    lapse=0.0,
    vanish=0.0,
    drop_every_s=0.0,
    think_s=(0.05, 0.15),
    dwell_s=(0.1, 0.3),
)
# To the matcher, orders for robots weigh nothing, and all other orders weigh something.
_VEHICLE: Final = Vehicle(max_weight_g=0, max_volume_l=0)


class Mint(Protocol):
    """Makes tokens; see `mallard_engine.gateway.auth.tokens.Tokens.mint`."""

    def __call__(
        self,
        sub: str,
        role: Role,
        *,
        ttl_s: float,
        market: str | None = None,
        mall: str | None = None,
        store: str | None = None,
        alias: str | None = None,
        vehicle: Vehicle | None = None,
        qualifications: tuple[str, ...] | None = None,
    ) -> str:
        """Return a token."""
        ...


class Crew:
    """See the module.

    Args:
        url: the node's own address, on the loopback interface if it listens there.
        market: the sandbox.
        mint: makes the tokens of robots, shops and operator.
        robots: how many robots there are.
        orders_each: how many robot orders there are for each driver that is no robot.
    """

    def __init__(
        self, url: str, market: Market, mint: Mint, *, robots: int, orders_each: int
    ) -> None:
        self._url = url
        self._market = market
        self._mint = mint
        self._robots = robots
        self._orders_each = orders_each
        self._tally = FleetTally()

    async def work(self) -> None:
        """Work for a shift. Raises the error of the shops or the robot orders, in a group."""
        operator_token = self._mint(_OPERATOR, Role.OPERATOR, ttl_s=_TOKEN_TTL_S)
        service_token = self._mint(_SERVICE, Role.ORDERS, ttl_s=_TOKEN_TTL_S)
        async with (
            OperatorClient(self._url, operator_token) as operator,
            OrderClient(self._url, service_token) as service,
            asyncio.TaskGroup() as tasks,
        ):
            shops = Shops(self._url, operator, self._shop_token)
            orders = TeamOrders(self._market, operator, service, self._orders_each)
            running = [
                tasks.create_task(shops.run()),
                tasks.create_task(orders.run()),
                tasks.create_task(self._trim()),
            ]
            new_robot = partial(Robot, operator=operator, shops=shops)
            running += [
                tasks.create_task(self._employ(number, new_robot))
                for number in range(1, self._robots + 1)
            ]
            await asyncio.sleep(_SHIFT_S)
            for task in running:
                task.cancel()

    async def _employ(self, number: int, new_robot: "partial[Robot]") -> None:
        """Run one robot, and replace it if it fails."""
        while True:
            robot = self._robot(number, new_robot)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(robot.run())
                    tasks.create_task(robot.try_again())
            except* Exception as failed:  # noqa: BLE001 - whatever it is, the others continue
                reasons = [repr(error) for error in failed.exceptions]
                _log.warning("a robot of the sandbox is replaced", robot=number, reasons=reasons)
            await asyncio.sleep(_REPLACED_AFTER_S)

    def _robot(self, number: int, new_robot: "partial[Robot]") -> Robot:
        name = f"sandbox:robot-{number}"
        rng = random.Random(name)  # noqa: S311 - a simulation's chance
        malls = [mall for mall in self._market.malls.values() if mall.kind == "mall"]
        mall = malls[number % len(malls)]
        token = self._mint(
            name,
            Role.DRIVER,
            ttl_s=_TOKEN_TTL_S,
            market=SANDBOX_MARKET,
            alias=f"Robot {number}",
            vehicle=_VEHICLE,
            qualifications=(ROBOT,),
        )
        return new_robot(
            name,
            self._url,
            token,
            home=point_around((mall.lat, mall.lon), _HOME_WITHIN_M, rng),
            habits=_HABITS,
            tally=self._tally,
            rng=rng,
            subprotocol=SUBPROTOCOL_MSGPACK,
        )

    def _shop_token(self, mall: str, store: str) -> str:
        sub = f"sandbox:{store}"
        return self._mint(sub, Role.STORE, ttl_s=_TOKEN_TTL_S, mall=mall, store=store)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            self._tally.trim(_MOST_REMEMBERED)
