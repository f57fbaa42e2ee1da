"""`mallard check`, run as its own process, on a Redis that is named and on a data folder."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import redis

from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.keys import MarketKeys
from tests import commands

LOST = MarketKeys("phoenix").key("lost-and-found")


def check(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if "MALLARD" not in name}
    return commands.run("check", *flags, env=clean)


@pytest.fixture
def folder(tmp_path: Path, redis_binary: Path | None) -> Path:
    """A data folder whose server has written a log with a key in it that nobody knows."""
    with (
        EmbeddedServer(tmp_path) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set(LOST, "umbrella")
    return tmp_path


def test_store_without_a_violation_is_exit_status_0(redis_url: str) -> None:
    done = check("--redis", redis_url)
    assert (done.returncode, done.stderr) == (0, "")
    *warnings, summary = done.stdout.splitlines()
    assert summary == "no breach; looked at 0 jobs, 0 drivers, 0 offers, 0 due entries"
    assert all(line.startswith("store: ") for line in warnings)
    assert "keeps nothing on disk" in done.stdout


def test_each_violation_is_a_line_and_the_last_line_sums_up(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(LOST, "umbrella")
    done = check("--redis", redis_url)
    assert done.returncode == 1
    *_, breach, summary = done.stdout.splitlines()
    assert breach == "leak  phoenix  key lost-and-found: the key is unknown"
    assert summary.startswith("1 × leak; looked at 0 jobs")


def test_json_output_has_the_same_findings(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(LOST, "umbrella")
    done = check("--redis", redis_url, "--json", "--limit", "5")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["breaches"] == [
        {
            "rule": "leak",
            "market": "phoenix",
            "kind": "key",
            "id": "lost-and-found",
            "what": "the key is unknown",
        }
    ]
    assert found["left_out"] == {}
    assert any("keeps nothing on disk" in warning for warning in found["warnings"])


@pytest.mark.finding("B13")
def test_incomplete_audit_is_exit_status_3(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for number in range(3):
            client.zadd(MarketKeys("phoenix").key("by_age"), {f"job_phoenix.{number}": 0})
            client.zadd(MarketKeys("phoenix").key("forget"), {f"job//job_phoenix.{number}": 4e12})
    done = check("--redis", redis_url, "--limit", "2")
    assert done.returncode == 3, done.stdout
    assert "not looked at: 1 × job" in done.stdout.splitlines()


def test_folder_without_a_running_server_is_audited(folder: Path) -> None:
    log = folder / "server/appendonlydir"
    before = {file.name: file.read_bytes() for file in log.iterdir()}
    done = check("--data", folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert "lost-and-found" in done.stdout
    assert {file.name: file.read_bytes() for file in log.iterdir()} == before


def test_folder_is_audited_while_its_server_runs(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        assert check("--data", folder).returncode == 1
        assert server.running


@pytest.mark.parametrize(
    ("flags", "output"),
    [
        (["--redis", "redis://127.0.0.1:1/0"], "127.0.0.1:1"),
        (["--data", "/nonexistent"], "no store in /nonexistent"),
        (["--limit", "0"], "from 1 to"),
        (["--redis", "gopher://nowhere"], "redis://"),
    ],
)
def test_missing_store_is_exit_status_2(flags: list[str], output: str) -> None:
    done = check(*flags)
    assert done.returncode == 2
    assert output in done.stderr
    assert "Traceback" not in done.stderr


def test_repair_mends_what_it_can_and_names_the_rest(redis_url: str) -> None:
    keys = MarketKeys("phoenix")
    with redis.Redis.from_url(redis_url) as client:
        client.set(LOST, "umbrella")
        client.hset(keys.key("counts"), "queued", 1)
        client.zadd(keys.key("due"), {"retry/m/job_phoenix.none": 4e12})
        done = check("--redis", redis_url, "--repair")
        assert done.returncode == 1, done.stderr
        mended = [line for line in done.stdout.splitlines() if line.startswith("mended  ")]
        assert len(mended) == 2
        assert "due retry/m/job_phoenix.none: removed" in "".join(mended)
        assert "leak  phoenix  key lost-and-found: the key is unknown" in done.stdout
        assert "1 × leak; looked at" in done.stdout
        assert client.get(LOST) == b"umbrella"
        client.delete(LOST)
    done = check("--redis", redis_url, "--repair")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mended" not in done.stdout


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--limit", "5"], 2, "leave out --limit"),
        (["--redis", "redis://127.0.0.1:1/0"], 2, "127.0.0.1:1"),
        (["--redis", "{newer}"], 2, "newer version"),
    ],
)
def test_repair_refuses_while_it_cannot_judge(
    redis_url: str, flags: list[str], status: int, said: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset("mallard:schema", mapping={"written": 99, "oldest_reader": 99})
        client.hset(MarketKeys("phoenix").key("counts"), "queued", 1)
        done = check("--repair", *(flag.replace("{newer}", redis_url) for flag in flags))
        assert done.returncode == status, done.stdout
        (line,) = done.stderr.splitlines()
        assert said in line
        assert client.hget(MarketKeys("phoenix").key("counts"), "queued") == b"1"
