"""`mallard archive`, run as a process of its own: its settings, its end, its errors."""

import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.redis_storage import RedisStorage
from tests import commands
from tests.engine.archive.archives import Archive
from tests.engine.storage.script_calls import RecordingLink
from tests.engine.storage.worlds import Clock, World
from tests.support import GUARD_S, eventually

KEYS = MarketKeys("phoenix")


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "MALLARD" not in name}


def archive(*flags: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return commands.run("archive", *flags, env=clean() | env)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_once_registers_and_ends(redis_url: str, client: Any, tmp_path: Path) -> None:
    done = archive("--redis", redis_url, "--archive-files", tmp_path / "a", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 jobs archived"
    assert client.hget(KEYS.key("archive"), "hold_ms") == b"604800000"
    done = archive("--redis", redis_url, "--remove")
    assert done.returncode == 0, done.stderr
    assert client.exists(KEYS.key("archive")) == 0


async def test_signal_ends_the_command_with_status_zero(
    redis_url: str, client: Any, tmp_path: Path
) -> None:
    output, errors = tmp_path / "out", tmp_path / "err"
    with output.open("wb") as out, errors.open("wb") as err:
        flags = ("--redis", redis_url, "--market", "phoenix", "--archive-files", tmp_path / "a")
        process = commands.start("archive", *flags, env=clean(), output=out, errors=err)
        await eventually(lambda: b"archives phoenix" in output.read_bytes())
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_S) == 0
    assert b"0 jobs archived" in output.read_bytes()


@pytest.mark.parametrize(
    ("flags", "env", "message"),
    [
        ((), {}, "name an archive"),
        (("--archive-files", "x", "--market", "atlantis"), {}, "there is no market 'atlantis'"),
        (("--archive-files", "x"), {"MALLARD_ARCHIVE_SEGMENT_MB": "0"}, "archive_segment_mb"),
        (("--archive-files", "x"), {"MALLARD_ARCHIVE_SEGMENT_MB": "big"}, "ARCHIVE_SEGMENT_MB"),
        (("--archive-files", "x"), {"MALLARD_ARCHIVE_HOLD_DAYS": "91"}, "archive_hold_days"),
        (("--archive-files", "x"), {"MALLARD_ARCHIVE_HOLD_DAYS": "nan"}, "ARCHIVE_HOLD_DAYS"),
        (("--archive-files", "x"), {"MALLARD_ARCHIVE_FILE": "y"}, "MALLARD_ARCHIVE_FILE"),
        (("--archive-postgres", "mysql://user:hush@host/db"), {}, "not a postgresql:// address"),
        (("--archive-files", "x"), {}, "there is no store"),
    ],
)
def test_bad_settings_are_one_line(
    tmp_path: Path, flags: tuple[str, ...], env: dict[str, str], message: str
) -> None:
    done = archive(*flags, "--data", tmp_path, **env)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert "hush" not in line


def test_folder_that_cannot_be_written_is_one_line(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = archive("--redis", redis_url, "--archive-files", tmp_path / "file" / "below")
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()  # after warnings about the configuration of Redis
    assert line.endswith("file/below: Not a directory")


def test_store_that_is_away_is_one_line(tmp_path: Path) -> None:
    done = archive("--redis", "redis://127.0.0.1:1", "--archive-files", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1:1" in line


def test_database_that_is_away_is_one_line(redis_url: str, tmp_path: Path) -> None:
    url = f"postgresql://user:hush@/db?host={tmp_path}"
    done = archive("--redis", redis_url, "--archive-postgres", url)
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert line.startswith("mallard: PostgreSQL: ")
    assert "hush" not in done.stderr


@pytest.mark.slow
async def test_killed_archive_has_every_job_once(
    redis_url: str, client: Any, tmp_path: Path
) -> None:
    folder, market = tmp_path / "a", "phoenix"
    store = RedisStorage(redis_url, {market: MarketPolicy()})
    await store.connect()
    async with redis.asyncio.Redis.from_url(redis_url) as plain:
        link = RecordingLink(redis_url, market)
        world = World(store, plain, redis_url, MarketPolicy(), Clock(), link)
        archived = Archive(world, folder)
        flags = ("--redis", redis_url, "--market", market, "--archive-files", folder)
        jobs: list[str] = []
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            for round_ in range(5):
                process = commands.start("archive", *flags, env=clean(), output=out, errors=err)
                known = len(complete_lines(folder))
                jobs += await archived.cancelled(150)
                # Killed within a batch or between two: the rounds differ in how much they let pass.
                least = known + 30 * round_
                await eventually(partial(has_more_than, folder, least), 60)
                process.send_signal(signal.SIGKILL)
                process.wait(GUARD_S)
        # The killed process has the role for 15 s more; this one waits as long.
        assert archive(*flags, "--once").returncode == 0
        assert sorted(archived.ids()) == sorted(jobs)
        assert await archived.waiting() == []
    await store.close()


def has_more_than(folder: Path, lines: int) -> bool:
    return len(complete_lines(folder)) > lines


def complete_lines(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
