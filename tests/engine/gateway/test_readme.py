"""The README's two programs work against a real node."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.support import eventually

README = Path(__file__).parents[3] / "README.md"


def program(name: str) -> dict[str, Any]:
    """The code block under `<!-- name -->`, executed as a module."""
    match = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert match
    module: dict[str, Any] = {}
    exec(compile(match[1], f"README.md {name}", "exec"), module)
    return module


async def test_driver_app_collects_orders_added_on_the_way(
    node: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the order of the order service, another one on its way, and visits the mall once."""
    app, arrives, drives = program("driver"), asyncio.Event(), []

    async def drive(_: float) -> None:
        drives.append(node.ws)
        await arrives.wait()

    async def is_available() -> bool:
        drivers = await node.http.get(
            "/v1/markets/phoenix/drivers", headers=node.bearer("ops", Role.OPERATOR)
        )
        return any(driver["state"] == "available" for driver in drivers.json()["items"])

    app["asyncio"] = SimpleNamespace(TaskGroup=asyncio.TaskGroup, sleep=drive)
    driving = asyncio.create_task(app["main"](node.ws, node.token("d-readme")))
    try:
        await eventually(is_available)
        token = node.token("shop", Role.ORDERS)
        await asyncio.to_thread(program("orders")["main"], node.url, token)
        assert "is assigned, driver " in capsys.readouterr().out
        added = (await node.submit())["id"]
        await node.job_in(added, "assigned")
        arrives.set()
        await node.job_in(added, "delivered")
        await eventually(is_available)
        jobs = await node.http.get("/v1/jobs", headers=node.bearer("shop", Role.ORDERS))
        assert [job["state"] for job in jobs.json()["items"]] == ["delivered", "delivered"]
        assert len(drives) == 1
    finally:
        driving.cancel()
        await asyncio.wait([driving])


@pytest.mark.finding("E")
async def test_order_service_sees_that_there_is_no_driver(
    node: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    token = node.token("shop", Role.ORDERS)
    await asyncio.to_thread(program("orders")["main"], node.url, token, 1)
    assert "is queued, without a driver" in capsys.readouterr().out
