"""Commands whose Redis goes away in the midst of their work: one line, never a traceback."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

from mallard_engine.storage.audit.audit import audit
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.schema import KEY, OURS, WrongSchema
from tests import commands
from tests.proxy import Proxy
from tests.support import GUARD_S

pytestmark = pytest.mark.finding("E")


class LeavingStore(Proxy):
    """Goes away for good after so many connections, or after so many bytes of its answers."""

    def __init__(self, url: str, *, visits: int = 100, most_bytes: int = 1 << 40) -> None:
        super().__init__(url)
        self._visits = visits
        self._left_bytes = most_bytes

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visits -= 1
        if self._visits < 0:
            writer.transport.abort()
            return
        await super()._accept(reader, writer)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        # Both ways: what is asked is short, and counts for little.
        with contextlib.suppress(OSError):
            while (data := await source.read(1_024)) and self._left_bytes > 0:
                self._left_bytes -= len(data)
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
        self._visits = 0 if self._left_bytes <= 0 else self._visits


async def mallard(*arguments: str | Path) -> tuple[int, list[str]]:
    """Run a command; return its exit status and the lines that it wrote to either stream."""
    clean = {name: value for name, value in os.environ.items() if "MALLARD" not in name}
    done = await asyncio.to_thread(commands.run, *arguments, env=clean)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def errors(lines: list[str]) -> list[str]:
    """The lines without the warnings on how the test's Redis is set up."""
    return [line for line in lines if "[warning" not in line and "[info" not in line]


# One connection looks at Redis before the node uses it; the node itself has two.
@pytest.mark.parametrize("visits", [1, 2])
async def test_serve_with_a_store_lost_after_its_check_fails(
    redis_url: str, tmp_path: Path, visits: int
) -> None:
    async with LeavingStore(redis_url, visits=visits) as store:
        status, lines = await mallard(
            *("serve", "--port", "0", "--data", tmp_path, "--redis", store.url)
        )
        place = store.url.removeprefix("redis://")
    assert status == 1
    printed = errors(lines)
    assert len(printed) == 1, lines
    assert printed[0].startswith(f"mallard: redis {place}: ")


# The audit of an empty Redis moves some 12 KB: the connection ends at its beginning or amidst it.
@pytest.mark.parametrize("most_bytes", [300, 6_000])
async def test_check_with_a_store_lost_meanwhile_fails(redis_url: str, most_bytes: int) -> None:
    async with LeavingStore(redis_url, most_bytes=most_bytes) as store:
        status, lines = await mallard("check", "--redis", store.url)
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].startswith("mallard: ")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["check"], 2),
        (["replay", "record", "recording", "--market", "phoenix"], 1),
        (["archive", "--archive-files", "archive", "--once"], 1),
    ],
    ids=["check", "replay", "archive"],
)
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_silent_store_is_reported_soon(
    redis_url: str, tmp_path: Path, command: list[str], status: int, scheme: str
) -> None:
    async with Proxy(redis_url) as proxy:
        proxy.stall()
        url = f"{scheme}://{proxy.url.removeprefix('redis://').removesuffix('/0')}"
        found = await mallard(*command, "--data", tmp_path, "--redis", url)
    assert found[0] == status
    [line] = found[1]
    # Not the failure of an attempt to connect, which takes 8 s.
    assert line.endswith(f"{url.partition('://')[2]} is silent: no answer within 4 s")


async def test_check_refuses_the_store_of_a_newer_version(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset(KEY, mapping={"written": OURS.written + 5, "oldest_reader": OURS.written + 1})
    status, lines = await mallard("check", "--json", "--redis", redis_url)
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].startswith("mallard: the store was written by a newer version")


@pytest.mark.parametrize("mark", [{"written": "soon", "oldest_reader": "1"}, {"colour": "blue"}, 2])
async def test_audit_refuses_an_unreadable_version_mark(
    redis_url: str, mark: dict[str, str] | int
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        if isinstance(mark, int):
            client.set(KEY, mark)
        else:
            client.hset(KEY, mapping=mark)
    with pytest.raises(WrongSchema, match="is not a version's mark"):
        await audit(redis_url, {})
    store = RedisStorage(redis_url, {})
    with pytest.raises(WrongSchema, match="is not a version's mark"):
        await store.connect()
    await store.close()


def server_of(pid: int) -> int | None:
    """The embedded server that a process has started; None: there is none yet."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name may hold blanks; the parent's id is the second field behind it.
            name, _, rest = (entry / "stat").read_text().rpartition(")")
            if int(rest.split()[1]) == pid and "server" in name:
                return int(entry.name)
    return None


def sockets_of(nodes: Sequence[str]) -> float:
    """How many drivers are connected to the nodes."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    pages = []
    for node in nodes:
        with opener.open(f"{node}/metrics", timeout=GUARD_S) as page:
            pages.append(page.read().decode())
    return sum(
        float(count) for count in re.findall(r"(?m)^mallard_drivers\{.*\} (\S+)$", "".join(pages))
    )


@pytest.mark.slow
async def test_demo_with_a_killed_store_ends_with_one_line(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mallard_engine", "demo", "--seconds", "1", "--drivers", "3"),
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "MALLARD" not in name},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(110):
            while b"node-1 at http" not in (line := await process.stdout.readline()):
                pass
            # The demo waits until its drivers are online.
            nodes = re.findall(r"http://\S+?:\d+", line.decode())
            while await asyncio.to_thread(sockets_of, nodes) < 3:
                await asyncio.sleep(0.05)
            server = server_of(process.pid)
            assert server is not None
            os.kill(server, signal.SIGKILL)
            _, errors_printed = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 1
    assert len(errors_printed.decode().splitlines()) == 1, errors_printed.decode()
    assert errors_printed.startswith(b"mallard: ")
