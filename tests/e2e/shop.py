"""An order service, written from the contract with a plain HTTP client."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx2

from tests.e2e.contract import assert_resource
from tests.support import GUARD_S, eventually

Json = dict[str, Any]


def soon(**delta: float) -> str:
    """Format a time relative to now."""
    return (datetime.now(UTC) + timedelta(**delta)).isoformat(timespec="milliseconds")


def assert_problem(response: httpx2.Response, status: int, code: str | None = None) -> Json:
    """An `application/problem+json` with a stable code; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].split(";")[0] == "application/problem+json"
    problem: Json = response.json()
    assert isinstance(problem["code"], str)
    assert code is None or problem["code"] == code, problem
    for error in problem.get("errors", []):
        assert error.keys() >= {"pointer", "detail"}
    return problem


def pointers(response: httpx2.Response) -> set[str]:
    """Return the pointers of a 422."""
    problem = assert_problem(response, 422)
    return {error["pointer"] for error in problem.get("errors", [])}


def http_client(url: str, token: str | None = None) -> httpx2.AsyncClient:
    """A plain client; over plain HTTP it need not spend 80 ms on reading certificates."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=GUARD_S, trust_env=False, verify=False
    )


class Shop:
    """An order service, or an operator."""

    def __init__(self, url: str, token: str, market: str) -> None:
        self.market = market
        self.http = http_client(url, token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def put_policy(self, values: Json) -> None:
        """Replace what is set of the market's policy, as an operator."""
        path, headers = f"/v1/markets/{self.market}/policy", {"If-Match": "*"}
        response = await self.http.put(path, json={"set": values}, headers=headers)
        assert response.status_code == 200, response.text

    async def post(self, body: Any, key: str | None = None, **params: Any) -> httpx2.Response:
        """`POST /v1/jobs`, with a new idempotency key by default."""
        return await self.http.post(
            "/v1/jobs",
            json=body,
            params=params,
            headers={"Idempotency-Key": key or uuid.uuid4().hex},
        )

    async def submit(self, body: Any, **params: Any) -> Json:
        """Post a job that must be accepted, and return it."""
        response = await self.post(body, **params)
        assert response.status_code == 201, response.text
        job: Json = response.json()
        assert_resource(job, "Job")
        return job

    async def job(self, job: str, **params: Any) -> Json:
        response = await self.http.get(f"/v1/jobs/{job}", params=params)
        assert response.status_code == 200, response.text
        resource: Json = response.json()
        assert_resource(resource, "Job")
        return resource

    async def state(self, job: str) -> str:
        return str((await self.job(job))["state"])

    async def cancel(self, job: str, reason: str = "customer changed their mind") -> Any:
        return await self.http.post(f"/v1/jobs/{job}/cancel", json={"reason": reason})

    async def explain(self, job: str) -> Json:
        response = await self.http.get(f"/v1/jobs/{job}/explain")
        assert response.status_code == 200, response.text
        explanation: Json = response.json()
        assert_resource(explanation, "Explanation")
        return explanation

    async def outcomes(self, job: str) -> list[Any]:
        return [asked["outcome"] for asked in (await self.explain(job))["asked"]]


async def considered(shop: Shop, job: str) -> None:
    """Wait until a dispatch round of the job is over."""

    async def explained() -> bool:
        return (await shop.explain(job))["at"] is not None

    await eventually(explained)
