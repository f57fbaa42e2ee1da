"""Callers of the order API: an order service, an operator, a driver without a socket."""

import base64
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, RunningNode

PROBLEM = "application/problem+json"
_keys = itertools.count(1)


@dataclass
class Caller:
    """A caller with a token and additional `headers`."""

    node: RunningNode
    sub: str = "shop"
    role: Role = Role.ORDERS
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **query: Any) -> httpx2.Response:
        return await self.node.http.get(path, params=query, headers=self._headers())

    async def post(
        self, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        return await self.node.http.post(path, json=body, headers=self._headers() | (headers or {}))

    async def send(self, method: str, path: str) -> httpx2.Response:
        """Send a request with an empty object as its body, if its method has one."""
        body: dict[str, str] | None = {} if method in {"post", "put", "patch"} else None
        return await self.node.http.request(
            method.upper(), path, json=body, headers=self._headers()
        )

    async def put(self, path: str, body: Any) -> httpx2.Response:
        return await self.node.http.put(path, json=body, headers=self._headers())

    async def patch(
        self, path: str, body: Any, *, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        return await self.node.http.patch(
            path, json=body, headers=self._headers() | (headers or {})
        )

    async def submit(
        self, body: dict[str, Any] | None = None, *, key: str | None = None, query: str = ""
    ) -> httpx2.Response:
        key = f"caller-{next(_keys)}" if key is None else key
        return await self.post(
            f"/v1/jobs{query}", order() if body is None else body, headers={"Idempotency-Key": key}
        )

    def _headers(self) -> dict[str, str]:
        return self.node.bearer(self.sub, self.role) | self.headers


@dataclass
class Counter(Caller):
    """The counter of a shop, with a token of role `store`."""

    role: Role = Role.STORE
    mall: str = MALL
    store: str = "lego"
    market: str | None = None

    @property
    def path(self) -> str:
        """The start of the paths of its shop."""
        return f"/v1/stores/{self.mall}/{self.store}"

    async def get(self, path: str, raw_query: str = "", **query: Any) -> httpx2.Response:
        url = f"{path}?{raw_query}" if raw_query else path
        return await self.node.http.get(url, params=query or None, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        token = self.node.node.tokens.mint(
            self.sub,
            self.role,
            ttl_s=3600,
            market=self.market,
            mall=self.mall,
            store=self.store,
        )
        return {"Authorization": f"Bearer {token}"} | self.headers


# An image of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


async def upload(
    node: RunningNode, content: bytes = PNG, driver: str = "d1", **headers: str
) -> httpx2.Response:
    """Upload a proof of a driver."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await node.http.post(
        "/v1/driver/proofs", content=content, headers=node.bearer(driver, Role.DRIVER) | named
    )


async def uploaded(node: RunningNode, content: bytes = PNG, driver: str = "d1") -> str:
    """The id of an uploaded proof."""
    done = await upload(node, content, driver)
    assert done.status_code == 201, done.text
    proof: str = done.json()["proof"]
    return proof


def order(**fields: Any) -> dict[str, Any]:
    """The body of a valid job."""
    return {"pickup": {"mall": MALL, "stores": [{"store": "lego"}]}, "dropoff": dict(HOME)} | fields


def at(epoch_ms: float) -> str:
    """Format a time for the API."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat()


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check a response to be a problem of this status and code; return its body."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), response.text
    assert response.headers["content-type"] == PROBLEM
    assert body["status"] == status
    assert body["type"] == f"urn:mallard:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert ("retry-after" in response.headers) == (status in {429, 503})
    return body


def pointers(response: httpx2.Response, code: str = "invalid_fields") -> list[str]:
    """The pointers of a 422."""
    return [error["pointer"] for error in problem(response, 422, code)["errors"]]
