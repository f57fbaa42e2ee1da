"""The clients as another project sees them: typed to the last word, all from the top."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import mallard_client
from mallard_client.driver.client import StepName, WishName
from mallard_protocol.lifecycle import Step, Wish

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio
from typing import assert_type

from mallard_client import (
    ApiProblem, App, Backoff, Barred, BadAnswer, Connected, Connecting, Disconnected, DriverChanged,
    DriverClient, Ended, Event, FileStorage, HeldJob, JobRequest, JobsChanged, Liveness,
    MemoryStorage, NoAnswer, Offer, OrderClient, OrderClientSync, Pace, Pickup, PickupStore,
    DropoffRequest, Proof, Reply, ReportSettled, RequestRefused, Step, Stopped, Storage,
    TokenTrouble, Unreachable, Vehicle, Welcome, Wish,
)


class Keychain:
    def load(self) -> bytes | None:
        return None

    def save(self, document: bytes) -> None:
        print(len(document))


async def fetch() -> str:
    return "a token"


async def listener(event: Event) -> None:
    print(event)


async def watch(app: DriverClient) -> None:
    async for event in app.events():
        match event:
            case Connecting(url=url, attempt=attempt):
                print(url, attempt)
            case Disconnected(reason=reason, reconnecting_in_s=seconds):
                print(reason, seconds)
            case DriverChanged(state=state, barred=barred):
                print(state, barred.why if barred else None)
            case Pace(location_ms=every_ms):
                print(every_ms)
            case Ended(reason=stopped):
                print(stopped.close_code)
            case _:
                pass


async def drive(url: str) -> None:
    keychain: Storage = Keychain()
    app = DriverClient(
        url,
        fetch,
        vehicle=Vehicle(kind="car", max_jobs=2),
        app=App("mine", "1"),
        storage=keychain,
        backoff=Backoff(max_s=10),
        liveness=Liveness(idle_s=15),
    )
    leave = app.listen(listener, Offer, JobsChanged)
    async with app:
        assert_type(app.connected, bool)
        assert_type(app.reconnecting_in, float | None)
        assert_type(app.barred, Barred | None)
        assert_type(app.location_ms, int)
        assert_type(app.location(1, 2, acc_m=None), bool)
        assert_type(await app.status("available"), Reply)
        await app.status(Wish.PAUSED)
        async for offer in app.offers():
            print(app.seconds_left(offer))
            try:
                jobs = await app.accept(offer)
            except (NoAnswer, RequestRefused, Stopped):
                continue
            assert_type(jobs, tuple[HeldJob, ...])
            for job in jobs:
                await app.progress(job.job, "picked_up")
                await app.progress(job.job, Step.DELIVERED, proof=Proof("photo", "p1"))
        app.network_is_back()
        assert_type(await app.closed(), Stopped)
    leave()


def order(url: str) -> str | None:
    body = JobRequest(
        pickup=Pickup("chandler-fashion-center", (PickupStore("lego"),)),
        dropoff=DropoffRequest(33.3, -111.8),
    )
    with OrderClientSync(url, "a token", within_s=30) as orders:
        try:
            return orders.submit(body).driver
        except (ApiProblem, BadAnswer, Unreachable) as error:
            return error.idempotency_key


DriverClient("ws://a", "t", storage=FileStorage("x"))
DriverClient("ws://a", lambda: "t", storage=MemoryStorage())
"""
WRONG = """
from mallard_client import DriverClient


async def drive(app: DriverClient) -> None:
    await app.progress("j", "flown")  # E
    await app.status("asleep")  # E
    app.listen(print, str)  # E
"""


@pytest.mark.finding("C19")
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_consumer_project_passes_strict_mypy(tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "setup.cfg").write_text(f"[mypy]\nmypy_path = {ROOT}\nfollow_imports = silent\n")
    done = subprocess.run(
        [
            *[sys.executable, "-m", "mypy", "--strict", "--output", "json"],
            *["--cache-dir", str(ROOT / ".mypy_cache" / "consumer")],
            *["consumer.py", "wrong.py"],
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line]
    errors = [error for error in found if error["severity"] == "error"]
    assert [error for error in errors if error["file"] != "wrong.py"] == [], done.stderr
    wanted = [number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# E")]
    assert sorted({error["line"] for error in errors}) == wanted


@pytest.mark.finding("C19")
def test_package_exports_what_it_names() -> None:
    assert sorted(mallard_client.__all__) == sorted(set(mallard_client.__all__))
    for name in mallard_client.__all__:
        assert getattr(mallard_client, name) is not None


@pytest.mark.finding("C19")
def test_literals_are_those_of_the_contract() -> None:
    # `collected` has a method of its own, as it names a store and its parcels.
    assert set(get_args(StepName)) == set(Step) - {Step.COLLECTED}
    assert set(get_args(WishName)) == set(Wish)
