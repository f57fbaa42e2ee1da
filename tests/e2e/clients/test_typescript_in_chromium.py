"""The TypeScript clients in Chromium, from another origin, against a real node."""

import asyncio
from collections.abc import Callable

from tests.clients.fault_proxy import FaultProxy
from tests.clients.typescript.agents import Agent, Link
from tests.clients.typescript.chromium import Chromium, PageApp, needs_chromium
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import read_place
from tests.e2e.typescript_apps import (
    OneToken,
    accept,
    available,
    call,
    clients_setup,
    deliver,
    report,
    shows,
)
from tests.support import GUARD_S, eventually

pytestmark = needs_chromium


async def test_pages_of_an_allowed_origin_do_all_of_it(start: Callable[..., Node]) -> None:
    async with Chromium.running() as browser:
        settings = {
            "MALLARD_ALLOWED_ORIGINS": browser.origin,
            "MALLARD_OFFER_TIMEOUT_MS": "30000",
            "MALLARD_OFFER_ACK_TIMEOUT_MS": "15000",
        }
        node = await asyncio.to_thread(start, embedded=True, **settings)
        place = read_place(node.url, make_token("places", "operator"), "phoenix")
        callers = Agent(lambda: "")
        link: Link = await browser.open(callers)
        callers.linked(link, clients_setup(node, place))
        async with FaultProxy.to(node.port) as network:
            app = PageApp(browser, network.url, OneToken(), {"location_every_ms": 50})
            await app.start()

            # A whole order, with the events of its job as a stream.
            await available(app, place)
            job = await call(callers, "orders", "submit", place.order())
            events = callers.ask("collect", of="orders", name="jobEvents", given=[job["id"]])
            await deliver(app, place, callers, job["id"])
            types = [event["type"] for event in await asyncio.wait_for(events, GUARD_S)]
            assert (types[0], types[-1]) == ("job.created", "job.delivered")

            # The page is suspended in the middle of a run.
            await available(app, place)
            job = await call(callers, "orders", "submit", place.order())
            await accept(app, job["id"])
            app.agent.tell("suspend")
            await eventually(lambda: shows(app, "over", "http"))
            app.location(*place.gate)
            await report(app, job["id"], "at_mall")
            app.agent.tell("resume")
            await eventually(lambda: shows(app, "over", "socket"))
            assert await app.shown(["jobs"]) == {"jobs": {job["id"]: "at_mall"}}

            # A browser cannot ping: the engine's answer to the probe keeps an idle socket, and the
            # lack of one shows that it is half-open.
            connections = network.accepted
            heard = network.to_app
            await eventually(lambda: network.to_app >= heard + 5)
            assert network.accepted == connections
            network.set("freeze")
            reply = await report(app, job["id"], "picked_up")
            assert reply["job_state"] == "picked_up"
            assert network.accepted > connections
            await app.stop()
        await callers.end()
