"""Pauses a market, changes its policy and revokes tokens on four nodes under load.

    python -m load_tests.faults.control --nodes 4 --drivers 40 --rate 10

Each call goes to another node. It is measured how long after its answer something happens on any
node that it forbids: an offer while the market is paused, an offer with the old time limit, an
answer to a revoked token. Each must have ended within `--within` seconds. A bad policy must change
nothing anywhere, a reload of the files must not undo what a call has set, and the audit log must
have every call. Exit status 1 if one of these is missed.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from load_tests.credentials import Credentials
from load_tests.faults.outage import MARKET, App, Seen, Shop
from mallard_engine.workload.nodes import Node, running_nodes
from mallard_protocol.codes import Close

_PATH: Final = f"/v1/markets/{MARKET}"
_SERVICE: Final = "second"
_POLL_S: Final = 0.05
_WATCHED_S: Final = 6.0
_STARTED_WITHIN_S: Final = 60.0
_LIMIT_MS, _CALLED_MS, _FILED_MS = 20_000, 9_000, 30_000
# Of the file, before and after its change.
_COOLDOWN_S, _FILED_COOLDOWN_S = 1, 2
_CALLS: Final = {
    ("pauseMarket", 200),
    ("resumeMarket", 200),
    ("setPolicy", 200),
    ("setPolicy", 422),
    ("revokeTokens", 200),
}


class Offer(NamedTuple):
    """An offer that an app has received, and the time that it leaves for an answer."""

    at_s: float
    limit_ms: int


class WatchedApp(App):
    """An app that notes its offers."""

    def __init__(self, token: str, offers: list[Offer]) -> None:
        super().__init__(token, Seen())
        self._offers = offers
        self.has_ended = False

    async def keep_connected(self, urls: Sequence[str]) -> None:
        """Stay connected, to one node after another, until its token is refused."""
        for number in range(1_000_000):
            with contextlib.suppress(OSError, WebSocketException):
                await self.run(urls[number % len(urls)])
            if Close.BAD_TOKEN in self._seen.closed:
                break
            await asyncio.sleep(0.2)
        self.has_ended = True

    async def _take(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "offer":
            limit_ms = frame["expires_ms"] - frame["server_time_ms"]
            self._offers.append(Offer(time.monotonic(), limit_ms))
        await super()._take(socket, frame)


class Control:
    """An operator who calls one node after the other, and watches all of them."""

    def __init__(self, nodes: Sequence[Node], credentials: Credentials, within_s: float) -> None:
        self._nodes = nodes
        self._credentials = credentials
        self._within_s = within_s
        self._http = httpx2.AsyncClient(trust_env=False, timeout=30)
        self._calls = 0
        self._streaming = 0
        self.offers: list[Offer] = []
        self.failures: list[str] = []

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def pauses(self) -> None:
        """Pause and resume the market."""
        await self._call("POST", f"{_PATH}/pause", {"reason": "a test"})
        answered_s = time.monotonic()
        await asyncio.sleep(_WATCHED_S)
        self._report("pause: the last offer", self._last(answered_s, lambda _: True))
        resumed = len(self.offers)
        await self._call("POST", f"{_PATH}/resume")
        answered_s = time.monotonic()
        await self.until("no offer after the pause", lambda: len(self.offers) > resumed)
        self._report("end of the pause: the first offer", time.monotonic() - answered_s)

    async def policies(self) -> None:
        """Change the policy well, and badly."""
        wanted = {"set": {"offer_timeout_ms": _CALLED_MS}}
        await self._call("PUT", f"{_PATH}/policy", wanted)
        answered_s = time.monotonic()
        await asyncio.sleep(_WATCHED_S)
        self._report(
            "policy: the last offer under the old one",
            self._last(answered_s, lambda offer: offer.limit_ms > (_CALLED_MS + _LIMIT_MS) / 2),
        )
        since = [offer.limit_ms for offer in self.offers if offer.at_s > answered_s + 1]
        self._expect(f"offers under the new one: {len(since)}", since)
        before = await self._policies()
        bad = {"set": {"offer_timeout_ms": 12_000, "cooldown_s": -1}}
        await self._call("PUT", f"{_PATH}/policy", bad, status=422)
        await asyncio.sleep(1)
        self._expect("a bad policy changes nothing", await self._policies() == before)

    async def reload(self, config: Path) -> None:
        """Change the file of all nodes, which says something else than the call did."""
        await asyncio.to_thread(config.write_text, _file(_FILED_MS, _FILED_COOLDOWN_S))
        for node in self._nodes:
            os.kill(node.pid, signal.SIGHUP)

        async def is_read() -> bool:
            return all(it["cooldown_s"] == _FILED_COOLDOWN_S for it in await self._policies())

        await self.until("the file was not read", is_read)
        limits = {it["offer_timeout_ms"] for it in await self._policies()}
        self._expect(f"what was set by call wins: {limits}", limits == {_CALLED_MS})

    async def revocations(self, app: WatchedApp) -> None:
        """Revoke the tokens of an order service and of a driver."""
        token = self._credentials.service(_SERVICE)
        made = await self._call(
            "POST", "/v1/webhooks", {"url": "https://8.8.8.8/", "types": []}, token, status=201
        )
        streams = [asyncio.create_task(self._stream(node, token)) for node in self._nodes]
        await self.until("no streams", lambda: self._streaming == len(streams))
        await self._call("POST", "/v1/tokens/revoke", {"sub": _SERVICE, "role": "orders"})
        answered_s = time.monotonic()
        self._report("revoked order service: the last answer", await self._refused(token))
        await self.until("a stream goes on", lambda: all(it.done() for it in streams))
        ends_s = [it.result() for it in streams if it.done()]
        self._report("the end of its streams", max(ends_s, default=answered_s) - answered_s)
        hook = await self._call("GET", f"/v1/webhooks/{made['id']}")
        self._expect("its webhook is disabled", hook.get("disabled_reason") == "revoked")
        await self._call("POST", "/v1/tokens/revoke", {"sub": "d0", "role": "driver"})
        answered_s = time.monotonic()
        await self.until("a revoked driver's socket is open", lambda: app.has_ended)
        self._report("revoked driver: the end of its socket", time.monotonic() - answered_s)

    async def audited(self) -> None:
        """Look for all of that in the audit log, on every node."""
        for node in self._nodes:
            page = await self._call("GET", "/v1/audit?limit=200", node=node)
            found = {(it["operation"], it.get("status")) for it in page["items"]}
            self._expect(f"audited on {node.name}: {_CALLS - found} missing", found >= _CALLS)

    async def until(self, otherwise: str, holds: Callable[[], Awaitable[bool] | bool]) -> None:
        """Wait until something holds; note what is wrong if it does not."""
        ends_s = time.monotonic() + _STARTED_WITHIN_S
        while time.monotonic() < ends_s:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(_POLL_S)
        self.failures.append(otherwise)

    def _report(self, what: str, seconds: float) -> None:
        print(f"| {what} | {seconds:.2f} s |", flush=True)
        if seconds > self._within_s:
            self.failures.append(f"{what}: {seconds:.2f} s after the answer")

    def _expect(self, what: str, holds: object) -> None:
        print(f"| {what} | {'yes' if holds else 'no'} |", flush=True)
        if not holds:
            self.failures.append(what)

    def _last(self, since_s: float, fits: Callable[[Offer], bool]) -> float:
        return max((it.at_s - since_s for it in self.offers if it.at_s > since_s and fits(it)),
                   default=0.0)  # fmt: skip

    async def _policies(self) -> list[Mapping[str, Any]]:
        """Return the values in force, as each node has them."""
        return [
            (await self._call("GET", f"{_PATH}/policy", node=node))["effective"]
            for node in self._nodes
        ]

    async def _stream(self, node: Node, token: str) -> float:
        """Open a stream; return when it has ended."""
        url, headers = f"{node.url}/v1/events?market={MARKET}", {"Authorization": f"Bearer {token}"}
        with contextlib.suppress(httpx2.TransportError):
            async with self._http.stream("GET", url, headers=headers) as answer:
                self._streaming += answer.status_code == httpx2.codes.OK
                async for _ in answer.aiter_bytes():
                    pass
        return time.monotonic()

    async def _refused(self, token: str) -> float:
        """Return how long any node has still answered to a token."""
        began_s, last_s = time.monotonic(), 0.0
        headers = {"Authorization": f"Bearer {token}"}
        while time.monotonic() < began_s + _WATCHED_S:
            answers = await asyncio.gather(
                *(self._http.get(f"{it.url}/v1/markets", headers=headers) for it in self._nodes)
            )
            if any(it.status_code != httpx2.codes.UNAUTHORIZED for it in answers):
                last_s = time.monotonic() - began_s
            await asyncio.sleep(_POLL_S)
        return last_s

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str = "",
        *,
        node: Node | None = None,
        status: int = 200,
    ) -> Any:
        """Call a node, by default the next one, as an operator if no token is given."""
        self._calls += node is None
        node = node or self._nodes[self._calls % len(self._nodes)]
        headers = {"Authorization": f"Bearer {token or self._credentials.operator}"}
        if method == "PUT":
            headers["If-Match"] = "*"
        answer = await self._http.request(method, node.url + path, json=body, headers=headers)
        if answer.status_code != status:
            self.failures.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json() if answer.content else {}


async def run(
    nodes: Sequence[Node], config: Path, secret: str, options: argparse.Namespace
) -> list[str]:
    """Run the test; return what failed."""
    urls = [node.url for node in nodes]
    credentials = Credentials(secret)
    control = Control(nodes, credentials, options.within)
    shop = Shop(urls, credentials.orders)
    apps = [
        WatchedApp(credentials.driver(f"d{number}", MARKET).token, control.offers)
        for number in range(options.drivers)
    ]
    tasks = [
        asyncio.create_task(app.keep_connected([*urls[n % len(urls) :], *urls]))
        for n, app in enumerate(apps)
    ]
    tasks.append(asyncio.create_task(_submit(shop, options.rate)))
    try:
        await control.until("no offers", lambda: len(control.offers) > options.drivers)
        await control.pauses()
        await control.policies()
        await control.reload(config)
        await control.revocations(apps[0])
        await control.audited()
        print(f"{len(shop.jobs)} jobs, {len(control.offers)} offers")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await control.close()
        await shop.close()
    return control.failures


async def _submit(shop: Shop, rate: float) -> None:
    """Submit orders at a steady rate until cancelled."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(shop.order())
            await asyncio.sleep(1 / rate)


def _file(offer_timeout_ms: int, cooldown_s: float) -> str:
    return f"[policy]\noffer_timeout_ms = {offer_timeout_ms}\ncooldown_s = {cooldown_s}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.control", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--drivers", type=int, default=40)
    parser.add_argument("--rate", type=float, default=10.0, help="jobs a second")
    parser.add_argument("--within", type=float, default=5.0, help="seconds to be in force")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="mallard-control-") as name:
        folder = Path(name)
        config = folder / "mallard.toml"
        config.write_text(_file(_LIMIT_MS, _COOLDOWN_S))
        environment = {
            "MALLARD_SECRET": secret,
            "MALLARD_OPENING_HOURS": "off",
            "MALLARD_SERVICE_RATE_PER_S": "0",
            "MALLARD_SERVICE_OPEN_JOBS": "0",
            "MALLARD_CONFIG": str(config),
        }
        with running_nodes(options.nodes, folder, environment) as nodes:
            failures = asyncio.run(run(nodes, config, secret, options))
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
