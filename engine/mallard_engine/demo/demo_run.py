"""Runs the demo, from the start of the nodes to the audit."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from mallard_client.operator_client import OperatorClient
from mallard_client.orders.client import OrderClient
from mallard_engine.config.settings import Settings
from mallard_engine.core.model import TRANSFER
from mallard_engine.demo.arrivals import Arrivals
from mallard_engine.demo.audit import (
    Finding,
    accounts_of,
    audit,
    bad_day_findings,
    offers_to_dead_node,
)
from mallard_engine.demo.monitor import Monitor
from mallard_engine.demo.plan import Plan
from mallard_engine.demo.reassignment_times import reassignment_times
from mallard_engine.demo.screen import Screen
from mallard_engine.demo.sign_in_codes import kept_codes
from mallard_engine.demo.summary import Outcome
from mallard_engine.gateway.auth.sign_in import page_link
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.workload.bad_day.fleet_driver import BadDayFleetDriver
from mallard_engine.workload.bad_day.fleet_people import FleetPeople
from mallard_engine.workload.demand import Demand
from mallard_engine.workload.fleet import DriverProfile, Fleet, FleetDriver
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.random_points import home_near
from mallard_protocol.codes import MAX_PAGE, Role
from mallard_protocol.lifecycle import DriverState, JobState
from mallard_protocol.resources import Job

_NODES: Final = 2
# Longer than the longest demo, one with --stay.
_TOKEN_TTL_S: Final = 90_000
_ONLINE_WITHIN_S: Final = 15.0
_SETTLED_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.1
_NEVER_MS: Final = 2**53
# The share of the submitted jobs that a run must deliver, and the most that is required.
_WANTED_SHARE: Final = 0.75
_WANTED_AT_MOST: Final = 300


class DemoRun:
    """One run of the demo on a running store."""

    def __init__(
        self, plan: Plan, demand: Demand, screen: Screen, *, redis_url: str, secret: str
    ) -> None:
        self._plan = plan
        self._demand = demand
        self._screen = screen
        self._redis_url = redis_url
        self._secret = secret
        self._tokens = Tokens(load_token_keys(Settings(secret=secret)))
        self._killed_ms = 0
        self._disconnected: tuple[str, ...] = ()

    async def run(self, folder: Path) -> Outcome:
        """Run the demo; the nodes log to `folder`. Raises `EngineFailed`."""
        plan = self._plan
        async with AsyncExitStack() as stack:
            nodes = await self._start_nodes(folder, stack)
            urls = [node.url for node in nodes]
            if plan.stay:
                await self._print_links(urls[0])
            orders = await stack.enter_async_context(
                OrderClient(urls, self._tokens.mint("demo", Role.ORDERS, ttl_s=_TOKEN_TTL_S))
            )
            people = self._new_people(orders, urls)
            if people is not None:
                stack.push_async_callback(people.stop)
            arrivals = Arrivals(
                orders,
                self._demand,
                rate=plan.rate,
                seconds=plan.seconds,
                seed=plan.seed,
                people=people,
            )
            fleet = self._new_fleet([node.socket_url for node in nodes], people)
            fleet.start()
            stack.push_async_callback(fleet.stop)

            expected = round(plan.rate * plan.seconds)
            monitor = Monitor(self._screen, nodes, fleet, arrivals.orders, expected)
            stack.push_async_callback(monitor.close)
            watching = asyncio.create_task(monitor.run())
            stack.callback(watching.cancel)
            await _until(lambda: _online(fleet) >= plan.drivers * 0.95, _ONLINE_WITHIN_S)
            monitor.phase = "arrivals"
            async with asyncio.TaskGroup() as acts:
                acts.create_task(arrivals.run())
                if plan.kill_node:
                    acts.create_task(self._kill_halfway(nodes[-1], fleet))
                if people is not None:
                    acts.create_task(people.close_shops(self._shops(), plan.seconds))
            monitor.phase = "draining"
            await _until(lambda: monitor.open_jobs <= 0, plan.drain_s)
            await _until(lambda: not _unreported(fleet), _SETTLED_WITHIN_S)
            monitor.phase = "audit"
            await monitor.poll()

            jobs = await self._jobs(urls)
            wanted = min(_WANTED_AT_MOST, int(_WANTED_SHARE * len(arrivals.orders.sent_s)))
            findings = audit(arrivals.orders.sent_s, jobs, fleet.tally, wanted_delivered=wanted)
            findings.append(_every_order_answered(arrivals.orders.refused))
            if plan.kill_node:
                findings.append(await self._offers_to_dead_node(urls[0], jobs, fleet))
            findings.append(_no_errors(nodes))
            findings.append(await self._check())
            accounts = None if people is None else accounts_of(people.ledger, jobs)
            if accounts is not None:
                findings += bad_day_findings(accounts)
            limits_ms = {
                "expired": plan.offer_timeout_ms,
                "unacknowledged": plan.offer_ack_timeout_ms,
            }
            return Outcome(
                preset=plan.preset,
                findings=findings,
                bad_day=plan.bad_day,
                accounts=accounts,
                metrics=monitor.metrics,
                reassignment_times=reassignment_times(jobs, limits_ms),
                tally=fleet.tally,
                seen_ms=monitor.seen_ms(),
                answer_ms=arrivals.orders.answer_ms,
            )

    async def _start_nodes(self, folder: Path, stack: AsyncExitStack) -> list[Node]:
        environment = self._plan.environment(self._redis_url, self._secret)
        if places := os.environ.get("MALLARD_PLACES"):
            environment = {**environment, "MALLARD_PLACES": places}
        nodes = [Node(n + 1, folder, environment, ends_with_parent=True) for n in range(_NODES)]
        for node in nodes:
            stack.push_async_callback(asyncio.to_thread, node.stop)
            # Launched in this thread: a node ends with the thread that launched it.
            node.launch()
        await asyncio.gather(*(asyncio.to_thread(node.wait_until_ready) for node in nodes))
        self._screen.print_line(", ".join(f"{node.name} at {node.url}" for node in nodes))
        return nodes

    def _new_people(self, orders: OrderClient, urls: list[str]) -> FleetPeople | None:
        if self._plan.bad_day is None:
            return None

        def shop_token(mall: str, store: str) -> str:
            return self._tokens.mint(store, Role.STORE, ttl_s=_TOKEN_TTL_S, mall=mall, store=store)

        return FleetPeople(self._plan.bad_day, orders, urls, shop_token)

    def _shops(self) -> dict[str, list[str]]:
        return {it.mall.id: list(it.mall.stores) for it in self._demand.catchments}

    def _new_fleet(self, urls: list[str], people: FleetPeople | None) -> Fleet:
        """Create drivers that live near the malls, in proportion to the orders."""
        rng = random.Random(f"drivers {self._plan.seed}")  # noqa: S311 - a simulation's chance
        profiles = []
        for number in range(self._plan.drivers):
            catchment = self._demand.draw_catchment(rng)
            name, market = f"driver-{number}", catchment.market
            token = self._tokens.mint(name, Role.DRIVER, ttl_s=_TOKEN_TTL_S, market=market.id)
            profiles.append(DriverProfile(name, home_near(catchment.mall, market, rng), token))
        return Fleet(
            urls,
            profiles,
            habits=self._plan.habits,
            seed=self._plan.seed,
            new_driver=FleetDriver if people is None else partial(BadDayFleetDriver, people=people),
        )

    async def _kill_halfway(self, node: Node, fleet: Fleet) -> None:
        await asyncio.sleep(self._plan.seconds / 2)
        there = fleet.at(node.socket_url)
        free = [driver for driver in there if driver.client.state == DriverState.AVAILABLE]
        node.kill()
        self._killed_ms = time.time_ns() // 1_000_000
        # Before the event loop sees their sockets close: some take long to find another node.
        for driver in free[: self._plan.stranded]:
            driver.client.drop(self._plan.stranded_s)
        self._disconnected = tuple(driver.name for driver in there)
        self._screen.print_line(f"{node.name} killed: {len(there)} drivers lose their sockets")

    async def _jobs(self, urls: list[str]) -> list[Job]:
        """Read all orders' jobs as an operator: an order service does not see the drivers' ids."""
        async with OperatorClient(urls, self._operator_token()) as operator:
            jobs = operator.jobs(limit=MAX_PAGE)
            return [job async for job in jobs if job.kind != TRANSFER]

    async def _print_links(self, url: str) -> None:
        """Print a link, good for one use, to each page: console, shop counter, driver app."""
        place = self._demand.catchments[0]
        mall, market = place.mall, place.market.id
        store = next(iter(mall.stores))
        tokens = {
            Role.OPERATOR: self._operator_token(),
            Role.STORE: self._tokens.mint(
                *("counter", Role.STORE), ttl_s=_TOKEN_TTL_S, mall=mall.id, store=store
            ),
            Role.DRIVER: self._tokens.mint(
                *("you", Role.DRIVER), ttl_s=_TOKEN_TTL_S, market=market
            ),
        }
        codes = await kept_codes(self._redis_url, list(tokens.values()))
        for role, code in zip(tokens, codes, strict=True):
            self._screen.print_line(page_link(url, role, code))

    def _operator_token(self) -> str:
        return self._tokens.mint("demo", Role.OPERATOR, ttl_s=_TOKEN_TTL_S)

    async def _offers_to_dead_node(self, url: str, jobs: list[Job], fleet: Fleet) -> Finding:
        back_ms = {
            name: next(
                (at for at, _ in fleet.tally.welcomes[name] if at > self._killed_ms), _NEVER_MS
            )
            for name in self._disconnected
        }
        async with OperatorClient(url, self._operator_token()) as operator:
            offered_since = [job for job in jobs if _offered_after(job, self._killed_ms)]
            explained = [(job, await operator.explain(job.id)) for job in offered_since]
        return offers_to_dead_node(self._killed_ms, back_ms, explained)

    async def _check(self) -> Finding:
        """Audit Redis with `mallard check`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mallard_engine", "check", "--redis", self._redis_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        last = output.decode(errors="replace").strip().rpartition("\n")[2]
        return Finding("mallard check finds no violation", process.returncode == 0, last)


async def _until(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _online(fleet: Fleet) -> int:
    return fleet.states()[DriverState.AVAILABLE]


def _unreported(fleet: Fleet) -> int:
    return sum(driver.client.unreported for driver in fleet.drivers)


def _offered_after(job: Job, at_ms: int) -> bool:
    return any(
        entry.state == JobState.OFFERED and entry.at.timestamp() * 1000 >= at_ms
        for entry in job.timeline
    )


def _every_order_answered(refused: dict[str, int]) -> Finding:
    seen = "; ".join(f"{count} x {reason}" for reason, count in sorted(refused.items()))
    return Finding("every order was accepted", not refused, seen or "0 refused")


def _no_errors(nodes: Sequence[Node]) -> Finding:
    errors = [f"{node.name}: {error}" for node in nodes for error in node.errors()]
    seen = f"{len(errors)}, first: {errors[0]}" if errors else "0"
    return Finding("no node logged an error", not errors, seen)
