"""Ends what a test leaves open.

Later tests would otherwise find open jobs, which are offered to their drivers; drivers who still
seem to be connected, who get their offers; and alerts, which are rows of the console.
"""

import time

import httpx2

from tests.support import GUARD_S

_OPEN = "scheduled,queued,offered,assigned,at_mall,picked_up,returning"
_ON_BOARD = {"picked_up", "returning"}
# A job may change between its listing and its end: it is listed again, and ended as it is then.
_ROUNDS = 10
_AROUND_M = 20_000
_LOOK_S = 0.05


def end_open_jobs(url: str, operator_token: str) -> None:
    """End every open job of a node's Redis, of any service, as an operator.

    An order service would not do: it sees neither other services' jobs nor transfers, and it cannot
    end a job that is on board.

    Raises:
        AssertionError: a job that the engine does not let an operator end.
    """
    headers = {"Authorization": f"Bearer {operator_token}"}
    with httpx2.Client(
        base_url=url, headers=headers, timeout=GUARD_S, trust_env=False, verify=False
    ) as http:
        refusals: list[str] = []
        for _ in range(_ROUNDS):
            listed = http.get("/v1/jobs", params={"state": _OPEN, "limit": 200})
            assert listed.status_code == 200, listed.text
            jobs = listed.json()["items"]
            if not jobs:
                return
            answers = [_end(http, job["id"], job["state"]) for job in jobs]
            refusals = [answer.text for answer in answers if answer.status_code != 200]
        raise AssertionError(f"a job stays open: {jobs}, {refusals}")


def _end(http: httpx2.Client, job: str, state: str) -> httpx2.Response:
    if state in _ON_BOARD:
        body = {"state": "lost", "reason": "the test is over"}
        return http.post(f"/v1/jobs/{job}/close", json=body)
    return http.post(f"/v1/jobs/{job}/cancel", json={"reason": "the test is over"})


def acknowledge_alerts(url: str, operator_token: str) -> None:
    """Acknowledge every open alert of a node's Redis, as an operator.

    Raises:
        AssertionError: alerts stay open.
    """
    headers = {"Authorization": f"Bearer {operator_token}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=GUARD_S, trust_env=False) as http:
        for _ in range(_ROUNDS):
            listed = http.get("/v1/alerts", params={"state": "open"})
            assert listed.status_code == 200, listed.text
            alerts = listed.json()["items"]
            if not alerts:
                return
            for alert in alerts:
                http.post(f"/v1/alerts/{alert['id']}/acknowledge")
        raise AssertionError(f"alerts stay open: {alerts}")


def wait_until_drivers_are_gone(
    url: str, operator_token: str, market: str, near: tuple[float, float]
) -> None:
    """Wait until the engine lists no connected driver around a place.

    A node that was killed has not reported the sockets that closed just before. Until its lease
    ends, their drivers are offered jobs.

    Raises:
        AssertionError: a driver stays connected.
    """
    headers = {"Authorization": f"Bearer {operator_token}"}
    around = {"near": f"{near[0]},{near[1]}", "radius_m": str(_AROUND_M)}
    deadline = time.monotonic() + GUARD_S
    with httpx2.Client(base_url=url, headers=headers, timeout=GUARD_S, trust_env=False) as http:
        while True:
            listed = http.get(f"/v1/markets/{market}/drivers", params=around)
            assert listed.status_code == 200, listed.text
            connected = [it["driver"] for it in listed.json()["items"] if it["connected"]]
            if not connected:
                return
            assert time.monotonic() < deadline, f"drivers stay connected: {connected}"
            time.sleep(_LOOK_S)
