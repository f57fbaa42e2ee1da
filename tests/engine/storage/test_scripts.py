"""The script files: headers, includes, and a server that flushes its scripts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.scripts import Script, all_scripts, load_commands

TEXT = """#!lua flags=allow-oom,no-writes
-- Adds one to a counter and returns a list.
--
-- KEYS   counter others...
-- ARGV   step
-- REPLY  {"ok", value}
-- REPLY  gone
-- include lib/a.lua
-- include lib/b.lua
local value = plus(tonumber(ARGV[1]))
-- KEYS   not a header any more
return {"ok", value}
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.lua").write_text("local one = 1\n")
    (tmp_path / "lib/b.lua").write_text(
        "-- include lib/a.lua\nlocal function plus(n) return n + one end\n"
    )
    return Script.parse("add", TEXT, tmp_path)


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(redis_url, handshake=load_commands())
    await link.connect()
    yield link
    await link.close()


def test_header_is_parsed(script: Script) -> None:
    assert script.name == "add"
    assert script.flags == {"allow-oom", "no-writes"}
    assert script.keys == ("counter", "others...")
    assert script.args == ("step",)
    assert script.replies == ('{"ok", value}', "gone")


def test_file_is_included_once(script: Script) -> None:
    assert script.source.count(b"local one = 1") == 1
    assert b"-- include" not in script.source


def test_script_without_a_shebang_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"add\.lua does not start with #!lua"):
        Script.parse("add", "return 1", tmp_path)
    assert Script.parse("add", "#!lua\nreturn 1", tmp_path).flags == frozenset()


async def test_flushed_script_is_loaded_again(link: Link, script: Script) -> None:
    assert await script.run(link, ["{m}:counter"], [4]) == [b"ok", 5]
    await link.call("SCRIPT", "FLUSH")
    assert await script.run(link, ["{m}:counter"], [4]) == [b"ok", 5]


class FlushedLink(Link):
    """A connection to a server that flushes each script as soon as it is loaded."""

    async def call(self, *command: str | bytes | float) -> Any:
        reply = await super().call(*command)
        if command[:2] == (b"SCRIPT", b"LOAD"):
            await super().call("SCRIPT", "FLUSH")
        return reply


@pytest.mark.finding("B10")
async def test_script_that_is_flushed_at_each_load_runs_once(
    redis_url: str, script: Script
) -> None:
    link = FlushedLink(redis_url)
    await link.connect()
    await link.call("SCRIPT", "FLUSH")
    assert await script.run(link, ["{m}:counter"], [4]) == [b"ok", 5]
    await link.close()


async def test_other_errors_are_raised(link: Link, script: Script) -> None:
    with pytest.raises(LinkReplyError, match="same slot"):
        await script.run(link, ["{m}:counter", "{n}:counter"], [4])
    with pytest.raises(LinkReplyError) as caught:
        await script.run(link, ["{m}:counter"], ["four"])
    assert caught.value.code == "ERR"


async def test_handshake_loads_every_script(link: Link) -> None:
    for script in all_scripts().values():
        assert await link.call("SCRIPT", "EXISTS", script.sha) == [1], script.name
