"""What must outlive the app: written whole or not at all, read as far as it can be."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mallard_client.driver.saved_state import decode
from mallard_client.driver.storage import FileStorage, MemoryStorage, Storage
from mallard_protocol.messages import Proof
from tests.clients.conftest import MakeApp
from tests.clients.counterpart import Counterpart, a_job
from tests.support import eventually

JOB = "job_phoenix.1"
_APP = """
import asyncio, sys
from mallard_client import DriverClient, FileStorage

async def main():
    app = DriverClient("ws://127.0.0.1:9", "a-token", storage=FileStorage(sys.argv[1]))
    app.start()
    for number in range(1_000):
        app.progress("j1", "at_mall", attempt=1, reason=str(number))
        print(number, flush=True)
        await asyncio.sleep(0)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.mark.finding("C15")
def test_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "driver.json"
    storage = FileStorage(path)
    assert storage.load() is None
    storage.save(b"one")
    storage.save(b"two")
    assert storage.load() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["driver.json"]


@pytest.mark.finding("C15")
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FileStorage(tmp_path / "driver.json")
    storage.save(b"one")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            storage.save(b"two")
    assert storage.load() == b"one"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.finding("C15")
@pytest.mark.slow
def test_kill_loses_no_accepted_report(tmp_path: Path) -> None:
    path = tmp_path / "driver.json"
    with subprocess.Popen(
        [sys.executable, "-c", _APP, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as app:
        assert app.stdout is not None
        said = 0
        while said < 40:
            said = int(app.stdout.readline())
        app.send_signal(signal.SIGKILL)
        rest = app.stdout.read().split()
    said = int(rest[-1]) if rest else said
    reports = decode(path.read_bytes()).reports
    assert [report.reason for report in reports][: said + 1] == [str(n) for n in range(said + 1)]


@pytest.mark.finding("C15")
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x00\xff",
        b"null",
        b"[]",
        b"{",
        b'{"reports": 7}',
        b'{"reports": [',
        b"\xef\xbb\xbf{}",
    ],
)
async def test_unreadable_document_is_ignored(
    engine: Counterpart, app_of: MakeApp, document: bytes
) -> None:
    storage = MemoryStorage()
    storage.save(document)
    app = app_of(storage=storage)
    assert (await (await engine.accepted()).welcome())["holds"] == []
    await app.online()
    assert app.unreported == 0


@pytest.mark.finding("C15")
def test_invalid_part_of_a_document_is_ignored() -> None:
    at = {"ms": 1, "by_server": True}
    good = {"job": "j1", "attempt": 1, "step": "at_mall", "at": at}
    document: dict[str, Any] = {
        "owner": 7,
        "wish": {"wish": "available", "until": None},
        "reports": [good, {**good, "step": "flown"}, 7, {**good, "job": "j2"}],
        "holds": [{"job": "j1"}, {"job": "j2", "attempt": 1, "state": "assigned"}],
        "a_field_of_tomorrow": 1,
    }
    saved = decode(json.dumps(document).encode())
    assert saved.owner is None
    assert saved.wish is not None
    assert [report.job for report in saved.reports] == ["j1", "j2"]
    assert [held.job for held in saved.holds] == ["j2"]


class _Broken:
    def load(self) -> bytes | None:
        raise OSError("no card")

    def save(self, document: bytes) -> None:
        raise OSError("no card")


@pytest.mark.finding("C15")
async def test_failed_storage_does_not_stop_the_client(
    engine: Counterpart, app_of: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    broken: Storage = _Broken()
    app = app_of(storage=broken)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    await app.online()
    report = app.progress(JOB, "at_mall")
    request = await socket.read("progress")
    await socket.reply(request, state="on_run", job=JOB, job_state="at_mall", attempt=1)
    assert (await report).job_state == "at_mall"
    assert "could not be saved" in caplog.text


@pytest.mark.finding("C15")
async def test_report_keeps_proof_and_reason_over_a_restart(
    engine: Counterpart, app_of: MakeApp
) -> None:
    storage = MemoryStorage()
    first = app_of(url="ws://127.0.0.1:9", storage=storage)
    first.progress(JOB, "delivered", attempt=2, proof=Proof("code", "4711"), reason="at the door")
    document = storage.document
    await first.stop()
    storage.document = document
    app = app_of(storage=storage)
    socket = await engine.accepted()
    await socket.welcome()
    report = await socket.read("progress")
    assert report["proof"] == {"kind": "code", "value": "4711"}
    assert (report["reason"], report["attempt"]) == ("at the door", 2)
    await socket.reply(report, job=JOB, job_state="delivered", attempt=2)
    await eventually(lambda: app.unreported == 0)
    assert decode(storage.document or b"").reports == ()


async def test_pickup_of_a_transfer_is_kept_over_a_restart(
    engine: Counterpart, app_of: MakeApp
) -> None:
    storage = MemoryStorage()
    first = app_of(url="ws://127.0.0.1:9", storage=storage)
    first.progress(JOB, "picked_up", attempt=2, proof=Proof("code", "4711"), jobs=["a", "b"])
    document = storage.document
    await first.stop()
    storage.document = document
    app_of(storage=storage)
    socket = await engine.accepted()
    await socket.welcome()
    report = await socket.read("progress")
    assert (report["step"], report["proof"]["value"]) == ("picked_up", "4711")
    assert report["jobs"] == ["a", "b"]
    await socket.reply(report, job=JOB, job_state="delivered", attempt=2)


@pytest.mark.finding("C15")
async def test_nothing_is_written_when_nothing_changed(
    engine: Counterpart, app_of: MakeApp
) -> None:
    class Counting(MemoryStorage):
        saves = 0

        def save(self, document: bytes) -> None:
            self.saves += 1
            super().save(document)

    storage = Counting()
    app = app_of(storage=storage)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    await app.online()
    before = storage.saves
    for seq in range(1, 20):
        await socket.send("state", seq=seq, state="on_run", why="fixes_rejected")
        app.location(33.3, -111.9, acc_m=5)
    await socket.send("state", seq=20, state="paused", why="x")
    await eventually(lambda: app.state == "paused")
    await asyncio.sleep(0)
    assert storage.saves == before
