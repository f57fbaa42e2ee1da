"""The embedded server: start, persistence, folder lock, and its end with the parent process."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from mallard_engine.storage.client.errors import DataFolderInUse, EmbeddedServerError
from mallard_engine.storage.embedded.log_sync import LOG_FOLDER
from mallard_engine.storage.embedded.server import EmbeddedServer, bundled_binary
from tests.support import eventually

# A process that starts a server on a folder, writes one key and then waits for a signal.
OWNER = """
import sys, pathlib, signal, redis
from mallard_engine.storage.embedded.server import EmbeddedServer
server = EmbeddedServer(pathlib.Path(sys.argv[1])).start()
redis.Redis.from_url(server.url).set("k", "v")
print(server.pid, flush=True)
signal.pause()
"""

BALLAST = os.urandom(1 << 20)
BUSY_S = 3
MOST_WRITES = 1_500
NO_REWRITES = {"auto-aof-rewrite-percentage": "0"}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def value_of(server: EmbeddedServer, key: str) -> object:
    with redis.Redis.from_url(server.url) as client:
        return client.get(key)


def test_server_listens_on_a_socket_in_a_private_folder(
    tmp_path: Path, redis_binary: Path | None
) -> None:
    with EmbeddedServer(tmp_path, binary=redis_binary) as server:
        assert server.running
        assert server.url == f"unix://{tmp_path}/server/server.sock?db=0"
        assert value_of(server, "k") is None
        assert (tmp_path / "server").stat().st_mode & 0o777 == 0o700
    assert not server.running


def test_full_disk_is_told_with_the_folder(
    tmp_path: Path, redis_binary: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", write)
    server = EmbeddedServer(tmp_path, binary=redis_binary)
    with pytest.raises(EmbeddedServerError, match=rf"{tmp_path} cannot be used: No space left"):
        server.start()
    monkeypatch.undo()
    with server:  # nothing was left locked
        assert server.running


def test_data_is_kept_over_a_restart(tmp_path: Path, redis_binary: Path | None) -> None:
    for value in (b"first", b"second"):
        with (
            EmbeddedServer(tmp_path, binary=redis_binary) as server,
            redis.Redis.from_url(server.url) as client,
        ):
            if value == b"second":
                assert client.get("k") == b"first"
            client.set("k", value)


def test_second_server_on_a_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as first:
        with pytest.raises(DataFolderInUse, match=f"in use by process {os.getpid()}"):
            EmbeddedServer(tmp_path).start()
        assert first.running
    with EmbeddedServer(tmp_path) as second:
        assert second.running


async def test_server_ends_with_its_parent_and_keeps_the_data(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    with owner, owner.stdout:
        server_pid = int(owner.stdout.readline())
        with pytest.raises(DataFolderInUse, match=str(owner.pid)):
            EmbeddedServer(tmp_path).start()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        # At once: the lock makes this start wait while the old server still writes its log.
        with EmbeddedServer(tmp_path) as server:
            assert not is_alive(server_pid)
            assert value_of(server, "k") == b"v"


async def test_server_runs_in_its_own_session(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


async def test_server_revives_after_a_crash_with_its_data(
    tmp_path: Path, redis_binary: Path | None
) -> None:
    with EmbeddedServer(tmp_path, binary=redis_binary) as server:
        assert not server.revive()
        with redis.Redis.from_url(server.url) as client:
            client.set("k", "v")
        os.kill(server.pid, signal.SIGKILL)
        await eventually(lambda: not server.running)
        assert server.revive()
        assert value_of(server, "k") == b"v"


def test_acknowledged_write_is_in_the_log_on_a_busy_disk(redis_binary: Path | None) -> None:
    """S4 under a kill: a reply is sent only after its write is in the log.

    Writes of 1 MB keep the disk busy with syncs. With `appendfsync everysec`, 142 of 1,893 such
    replies were sent before their write was in the log.
    """
    with (
        EmbeddedServer(binary=redis_binary, options=NO_REWRITES) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        log = server.folder / LOG_FOLDER
        began = time.monotonic()
        written = 0
        while time.monotonic() < began + BUSY_S and written < MOST_WRITES:
            client.set("ballast", BALLAST)
            mark = f"answered {written}".encode()
            client.set("mark", mark)
            [increment] = log.glob("*.incr.aof")
            with increment.open("rb") as written_log:
                written_log.seek(-len(mark) - 2, os.SEEK_END)
                assert written_log.read().strip() == mark
            written += 1


def test_long_path_gets_a_short_socket_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    with EmbeddedServer(deep, persistent=False) as server:
        assert len(server.url) < 120
        assert value_of(server, "k") is None


def test_path_that_needs_quoting_works(tmp_path: Path, redis_binary: Path | None) -> None:
    with EmbeddedServer(tmp_path / 'a "b" c?d%20', binary=redis_binary) as server:
        assert value_of(server, "k") is None


def test_temporary_folder_is_removed() -> None:
    with EmbeddedServer(persistent=False) as server:
        home = Path(server.url.removeprefix("unix://").partition("?")[0]).parent
        assert home.exists()
    assert not home.parent.exists()


def test_early_exit_reports_the_servers_output(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, options={"no-such-option": "yes"})
    with pytest.raises(EmbeddedServerError, match="no-such-option"):
        server.start()
    with EmbeddedServer(tmp_path) as again:  # the lock was released
        assert again.running


def test_full_server_refuses_writes_instead_of_evicting(redis_binary: Path | None) -> None:
    with (
        EmbeddedServer(persistent=False, maxmemory_bytes=1, binary=redis_binary) as server,
        redis.Redis.from_url(server.url) as client,
        pytest.raises(redis.exceptions.OutOfMemoryError),
    ):
        client.set("k", "v")


def test_cluster_mode_refuses_keys_of_two_slots(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url) as client,
        pytest.raises(redis.ResponseError, match="same slot"),
    ):
        client.eval("return 1", 2, "{a}", "{b}")


def test_bundled_binary_runs() -> None:
    version = subprocess.run([bundled_binary(), "--version"], capture_output=True, check=True)
    assert b"Valkey" in version.stdout
