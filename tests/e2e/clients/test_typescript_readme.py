"""The two programs in the README of `clients/typescript` work against a real node."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.typescript.agents import NODE, PACKAGE, needs_node
from tests.e2e.conftest import Node, make_token, start_node
from tests.e2e.places import Place, read_place

pytestmark = needs_node

WITHIN_S = 60
# What a browser has and the oldest Node lacks, and what the programs take as given.
GIVEN = """\
import WebSocket from "{package}/node_modules/ws/wrapper.mjs";
const given = (name, value) =>
  Object.defineProperty(globalThis, name, {{ value, configurable: true }});
const coords = {{ latitude: {lat}, longitude: {lon}, accuracy: 5, heading: null, speed: null }};
given("WebSocket", WebSocket);
given("localStorage", {{ getItem: () => null, setItem: () => undefined }});
const watchPosition = (tell) => tell({{ coords, timestamp: Date.now() }});
given("navigator", {{ geolocation: {{ watchPosition }} }});
given("token", "{orders}");
given("fetchToken", async () => "{driver}");
given("pickup", {pickup});
given("dropoff", {dropoff});
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = start_node(tmp_path_factory.mktemp("node"), None)
    yield node
    node.stop()


def write_programs(folder: Path, node: Node, place: Place) -> list[Path]:
    """Write each program to a file, for this node and this checkout's package."""
    lat, lon = place.north(50)
    order = place.order()
    given = GIVEN.format(
        package=PACKAGE.as_uri(),
        lat=lat,
        lon=lon,
        orders=make_token("readme", "orders"),
        driver=make_token("readme", "driver", market=place.market),
        pickup=json.dumps(order["pickup"]),
        dropoff=json.dumps(order["dropoff"]),
    )
    text = (PACKAGE / "README.md").read_text()
    for name, here in (
        ('"@mallard/client"', f'"{PACKAGE.as_uri()}/dist/index.js"'),
        ("wss://engine.example", node.socket_url),
        ("https://engine.example", node.url),
    ):
        text = text.replace(name, here)
    files = []
    for number, program in enumerate(re.findall(r"```ts\n(.*?)```", text, re.DOTALL)):
        files.append(folder / f"program{number}.mjs")
        files[-1].write_text(given + program)
    return files


async def test_readme_driver_takes_the_readme_order(node: Node, tmp_path: Path) -> None:
    place = read_place(node.url, make_token("places", "operator"), "phoenix")
    assert NODE is not None
    running = [
        await asyncio.create_subprocess_exec(
            NODE, file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        for file in write_programs(tmp_path, node, place)
    ]
    driver, orders = running
    try:
        async with asyncio.timeout(WITHIN_S):
            assert orders.stdout is not None
            assert driver.stdout is not None
            offer = await driver.stdout.readline()
            assert re.fullmatch(rb"Chandler Fashion Center [\d.]+\n", offer), offer
            said = [await orders.stdout.readline()]
            assert said == [b"job.created\n"]
            while said[-1] not in {b"job.assigned\n", b""}:
                said.append(await orders.stdout.readline())
        assert said[-1] == b"job.assigned\n", said
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
            await process.wait()
