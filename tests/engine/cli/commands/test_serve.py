"""`mallard serve` as a process of its own."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest
import redis

from mallard_engine.config.settings import load_settings
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.storage.keys import MarketKeys
from mallard_protocol.codes import Role
from tests import commands
from tests.engine.gateway.driver_app import open_app
from tests.proxy import Proxy
from tests.support import GUARD_S, eventually

ROOT = Path(__file__).parents[4]
MALLARD = (sys.executable, "-m", "mallard_engine")
BODY = {
    "pickup": {"mall": "chandler-fashion-center", "stores": [{"store": "lego"}]},
    "dropoff": {"lat": 33.3197, "lon": -111.8412},
}


def environment(**variables: str) -> dict[str, str]:
    """This process's, without any setting of ours."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLARD_")}
    return own | variables


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, env=environment(**variables), cwd=ROOT)


@contextlib.contextmanager
def serving(
    data: Path, *arguments: str, stderr: int | IO[str] = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A node with an embedded server; gives the process and its URL, ends with SIGTERM."""
    process = subprocess.Popen(
        [*MALLARD, "serve", "--port", "0", "--data", str(data), *arguments],
        cwd=ROOT,
        env=environment(MALLARD_OPENING_HOURS="off"),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    assert process.stdout is not None
    try:
        readable, _, _ = select.select([process.stdout], [], [], GUARD_S)
        assert readable, "it never printed where it listens"
        line = process.stdout.readline()
        found = re.match(r"mallard listens on (http://127\.0\.0\.1:\d+) \(data in .*\)$", line)
        assert found, line
        yield process, found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        with process.stdout:
            assert process.wait(GUARD_S) == 0


def tokens(data: Path) -> Tokens:
    return Tokens(load_token_keys(load_settings({"data": str(data)}, {})))


@pytest.mark.slow
def test_restart_keeps_the_data(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, url):
        headers = {
            "Authorization": f"Bearer {tokens(tmp_path).mint('shop', Role.ORDERS, ttl_s=60)}"
        }
        made = httpx2.post(
            f"{url}/v1/jobs",
            json=BODY,
            headers=headers | {"Idempotency-Key": "k1"},
            trust_env=False,
            timeout=GUARD_S,
        )
        assert made.status_code == 201, made.text
        second = run("serve", "--port", "0", "--data", str(tmp_path))
        assert second.returncode == 2
        assert f"{tmp_path} is in use by process" in second.stderr
    with serving(tmp_path) as (_, url):
        found = httpx2.get(
            f"{url}/v1/jobs/{made.json()['id']}", headers=headers, trust_env=False, timeout=GUARD_S
        )
        assert found.json()["created_at"] == made.json()["created_at"]


@contextlib.contextmanager
def ordering(data: Path, url: str) -> Iterator[httpx2.Client]:
    token = tokens(data).mint("shop", Role.ORDERS, ttl_s=60)
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k1"}
    with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=GUARD_S) as client:
        yield client


async def test_restart_reports_lost_writes_only_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, url), ordering(tmp_path, url) as orders:
        job = orders.post("/v1/jobs", json=BODY).json()["id"]
    with (
        serving(tmp_path) as (_, url),
        ordering(tmp_path, url) as orders,
        redis.Redis(unix_socket_path=str(tmp_path / "server" / "server.sock")) as server,
    ):
        assert orders.get(f"/v1/jobs/{job}").status_code == 200
        # After lost writes this is a 503 until all nodes have looked for them.
        assert orders.get(f"/v1/jobs/{job[:-3]}000").status_code == 404
        lineage = MarketKeys("phoenix").key("lineage")
        assert server.hget(lineage, "lost") is None
        info: Any = server.info("server")
        os.kill(info["process_id"], signal.SIGKILL)

        def is_reported() -> bool:
            with contextlib.suppress(redis.RedisError):
                return server.hget(lineage, "lost") is not None
            return False

        await eventually(is_reported)


async def test_signal_drains_the_drivers(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url):
        token = tokens(tmp_path).mint("d1", Role.DRIVER, ttl_s=60, market="phoenix")
        async with open_app(url.replace("http", "ws"), token) as driver:
            await driver.hello()
            process.send_signal(signal.SIGINT)
            assert (await driver.receive("drain"))["reconnect_after_ms"] > 0
            assert await driver.closed() == 4001
            # The second signal, from `serving`, only hurries it.


def test_second_signal_ends_a_node_without_a_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr, serving(tmp_path / "data", stderr=stderr) as (process, _):
        process.send_signal(signal.SIGTERM)
        wait_for(log, "node leaving")
    text = log.read_text()
    assert "exiting at once" in text
    assert "node down" in text
    assert "Traceback" not in text


@pytest.mark.finding("D15")
async def test_reload_asked_for_during_the_start_follows_it(tmp_path: Path, redis_url: str) -> None:
    """A node waits for a Redis that does not answer yet: a signal must not end it."""
    log = tmp_path / "log"
    async with Proxy(redis_url) as proxy:
        proxy.stall()
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*MALLARD, "serve", "--port", "0", "--redis", proxy.url],
                cwd=ROOT,
                env=environment(MALLARD_DATA=str(tmp_path), MALLARD_DRAIN_LINGER_S="0"),
                stderr=stderr,
            )
        try:
            await eventually(lambda: bool(proxy._tasks))
            process.send_signal(signal.SIGHUP)
            proxy.go_on()
            await eventually(lambda: "configuration reloaded" in log.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(GUARD_S) == 0


def wait_for(log: Path, text: str) -> None:
    ends_s = time.monotonic() + GUARD_S
    while text not in log.read_text() and time.monotonic() < ends_s:
        time.sleep(0.05)
    assert text in log.read_text()


@pytest.mark.finding("A15")
def test_exposed_redis_is_warned_of_at_start(tmp_path: Path) -> None:
    # A name that leads nowhere: the warning comes before the first connection.
    done = run("serve", "--redis", "redis://no-such-host.invalid:1", MALLARD_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "no password and no TLS" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("serve", "--host", "0.0.0.0"), 2, "set MALLARD_SECRET"),
        (("serve", "--config", "mars.toml"), 2, "no market 'mars'"),
        (("serve", "--port", "many"), 2, "port"),
        (("serve", "--host", "[::"), 2, "'[::' is not an address or a host's name"),
        (("serve", "--host", "127.0.0.1:80"), 2, "'127.0.0.1:80' is not an address"),
        (("serve", "--host", "http://here"), 2, "'http://here' is not an address"),
        (("serve", "--config", "missing.toml"), 2, "missing.toml"),
        (("serve", "--redis", "redis://user:hunter2@127.0.0.1:1"), 1, "redis 127.0.0.1:1: "),
        (("serve", "--redis", "redis://user:hunter2@[::1"), 2, "redis_url: Invalid IPv6 URL"),
        (
            ("serve", "--redis", "redis+cluster://127.0.0.1,[::1"),
            2,
            "redis_url: Invalid IPv6 URL",
        ),
        *(
            (
                ("drivers", "--market", "phoenix", "--url", url),
                2,
                f"{url!r} is not the address of an engine: ws://HOST:PORT or http://HOST:PORT",
            )
            for url in ("ws://[::", "ws://here:x", "ws://:80", "ws://here:0", "ws://he re", "here")
        ),
        (("list", "jobs", "--url", "http://he re"), 2, "'http://he re' is not the address of an"),
        (("submit", "jobs.json", "--service", "a b"), 2, "'a b' is not 1-64 of A-Z"),
        (("list", "jobs", "--service", "a\n"), 2, "'a\\n' is not 1-64 of A-Z"),
        (("list", "jobs", "--state", "lying"), 2, "(choose from 'scheduled', 'queued', "),
        (("list", "alerts", "--state", "shut"), 2, "(choose from 'open', 'acknowledged')"),
        (("serve", "--redis", "redis://:hunter2@[::1:1"), 2, "redis_url: Invalid IPv6 URL"),
        (("serve", "--redis", "redis://a?ssl_ciphers=x"), 2, "redis_url: ssl_ciphers needs TLS"),
        (
            ("serve", "--redis", "rediss://127.0.0.1:1?ssl_cert_reqs=x"),
            2,
            "redis_url: TLS with ssl",
        ),
        (("serve", "--redis", "redis://127.0.0.1:1?password=a//hunter2"), 1, "redis 127.0.0.1:1: "),
        (("check", "--redis", "redis://127.0.0.1:1/first"), 2, "redis_url: the database is not"),
        (
            ("archive", "--archive-files", ".", "--once", "--redis", "redis://127.0.0.1:1/first"),
            2,
            "redis_url: the database is not",
        ),
        (
            ("replay", "record", "day.jsonl", "--market", "phoenix", "--redis", "redis://a:x"),
            2,
            "redis_url: a port is not",
        ),
        (("serve", "--data", "/dev/null/data"), 1, "/dev/null/data cannot be used"),
        (("token", "orders", "shop", "--data", "/dev/null/data"), 2, "no engine has run with"),
        (("token", "orders", "shop", "--ttl-s", "long"), 2, "'long' is not a whole number from 1"),
        (("drivers", "--market", "phoenix", "--speed-mps", "0"), 2, "'0' is not a number from 0.1"),
        (("serve", "--nonsense"), 2, "unrecognized arguments"),
        (("fly",), 2, "invalid choice"),
        ((), 2, "required"),
    ],
)
def test_invalid_command_fails_with_its_reason(
    tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    (tmp_path / "mars.toml").write_text("[markets.mars]\nflush_ms = 5\n")
    arguments = tuple(str(tmp_path / it) if it == "mars.toml" else it for it in arguments)
    done = run(*arguments, MALLARD_DATA=str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
