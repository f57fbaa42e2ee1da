"""Whether a restart of the embedded server counts as a possible loss of writes.

A market's key `lineage` names the run of the server that the market was last seen on. A heartbeat
that finds another run there reports lost writes.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from mallard_engine.storage.embedded import clean_stop
from mallard_engine.storage.embedded.clean_stop import run_of
from mallard_engine.storage.embedded.log_sync import LOG_FOLDER
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.keys import MarketKeys
from tests.support import eventually

LINEAGES = [MarketKeys(market).key("lineage") for market in ("phoenix", "las-vegas")]
MARK = Path("server", "clean-stop")


def seen(server: EmbeddedServer) -> None:
    """Do what the heartbeats of both markets do on this run."""
    with redis.Redis.from_url(server.url) as client:
        for key in LINEAGES:
            client.hset(key, "server", run_of(client))


def is_loss(server: EmbeddedServer) -> bool:
    """Whether the heartbeats of both markets will report lost writes."""
    with redis.Redis.from_url(server.url) as client:
        [seen_last] = {client.hget(key, "server") for key in LINEAGES}
        return bool(seen_last != run_of(client).encode())


def run_once(data: Path) -> None:
    with EmbeddedServer(data) as server:
        seen(server)


def change_mark(data: Path, **changes: Any) -> None:
    mark = json.loads((data / MARK).read_text())
    (data / MARK).write_text(json.dumps(mark | changes))


def test_clean_restarts_are_no_loss(tmp_path: Path, redis_binary: Path | None) -> None:
    with EmbeddedServer(tmp_path, binary=redis_binary) as server:
        seen(server)
    for _ in range(2):
        with EmbeddedServer(tmp_path, binary=redis_binary) as server:
            assert not is_loss(server)
            assert not (tmp_path / MARK).exists()


def test_killed_server_is_a_loss(tmp_path: Path) -> None:
    run_once(tmp_path)
    with EmbeddedServer(tmp_path) as server:
        assert not is_loss(server)
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedServer(tmp_path) as server:
        assert is_loss(server)


async def test_server_revived_after_a_kill_is_a_loss_after_a_clean_stop(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        seen(server)
        os.kill(server.pid, signal.SIGKILL)
        await eventually(lambda: not server.running)
        server.revive()
    with EmbeddedServer(tmp_path) as server:
        assert is_loss(server)


def test_owner_killed_after_a_clean_start_is_a_loss(tmp_path: Path) -> None:
    run_once(tmp_path)
    child = os.fork()
    if child == 0:
        EmbeddedServer(tmp_path).start()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with EmbeddedServer(tmp_path) as server:
        assert is_loss(server)


def test_restored_copy_of_a_cleanly_stopped_folder_is_a_loss(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    run_once(data)
    shutil.copytree(data, backup)
    with EmbeddedServer(data) as server, redis.Redis.from_url(server.url) as client:
        client.set("an order", "written after the backup")
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    with EmbeddedServer(data) as server:
        assert is_loss(server)


def touch_log(data: Path) -> None:
    for path in (data / "server" / LOG_FOLDER).glob("*.incr.aof"):
        path.touch()


@pytest.mark.parametrize(
    "spoil",
    [
        touch_log,
        lambda data: change_mark(data, boot="another boot"),
        lambda data: change_mark(data, up_s=1.0),
        lambda data: change_mark(data, up_s=1e12),
        lambda data: change_mark(data, at_s=1.0),
        lambda data: change_mark(data, at_s=1e12),
        lambda data: (data / MARK).write_text("{}"),
        lambda data: (data / MARK).write_text('{"run"'),
        lambda data: (data / MARK).write_text("7"),
        lambda data: (data / MARK).write_bytes(b"\xff"),
    ],
    ids=["log", "boot", "up", "up-later", "at", "at-later", "empty", "torn", "number", "bytes"],
)
def test_doubtful_mark_is_a_loss(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    run_once(tmp_path)
    spoil(tmp_path)
    with EmbeddedServer(tmp_path) as server:
        assert is_loss(server)
        assert not (tmp_path / MARK).exists()


def test_no_mark_while_the_log_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(5, "input/output error")

    with EmbeddedServer(tmp_path) as server:
        seen(server)
        monkeypatch.setattr(clean_stop, "sync_log", fail)
    assert not (tmp_path / MARK).exists()


def test_no_mark_of_a_server_that_could_not_write_its_log(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        seen(server)
        client.config_set("appendonly", "no")
    assert not (tmp_path / MARK).exists()


def test_no_mark_of_a_server_that_does_not_answer(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, stop_timeout_s=0.1).start()
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not (tmp_path / MARK).exists()


def test_mark_that_cannot_be_removed_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(1, "not permitted", str(path))

    run_once(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(PermissionError):
            EmbeddedServer(tmp_path).start()
    with EmbeddedServer(tmp_path) as server:  # the lock was released
        assert server.running
