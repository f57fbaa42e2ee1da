"""Checks each call of a script against the header of the script."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgpack

from mallard_engine.storage.client.client import Link
from mallard_engine.storage.keys import WEBHOOKS
from mallard_engine.storage.scripts import Script, all_scripts

# What a script's header calls a key whose name has an id in it.
_HEADER_NAMES = {"queue": "wait", "idempotency": "key"}


class RecordingLink(Link):
    """A Redis connection that checks each script call against the script's header.

    A script that replies `run` asks for more keys, and is called again: it must not have written.
    """

    def __init__(self, url: str, market: str) -> None:
        super().__init__(url)
        self._market = market
        self.verdicts: set[tuple[str, str]] = set()
        # By digest, and by source: as a script is called that another test has flushed.
        self._scripts: dict[bytes, Script] = {}
        self.learn(all_scripts())
        # Calls that have begun: what others write meanwhile is not this one's.
        self._begun = 0

    def learn(self, scripts: Mapping[str, Script]) -> None:
        """Know these scripts as well."""
        for script in scripts.values():
            self._scripts |= {script.sha: script, script.source: script}

    async def call(self, *command: str | bytes | float) -> Any:
        if command[0] not in {b"EVALSHA", b"EVAL"}:
            self._begun += 1
            return await super().call(*command)
        script = self._scripts[bytes(command[1])]  # type: ignore[arg-type]
        before = await self._writes() if _asks_again(script) else None
        self._begun += 1
        begun = self._begun
        reply = await super().call(*command)
        if before is not None and _text(reply[0]) == "run" and begun == self._begun:
            assert await self._writes() == before, f"{script.name} replies `run` and has written"
        count = int(command[2])
        keys = [str(k) for k in command[3 : 3 + count]]
        check_call(script, self._market, keys, command[3 + count :])
        verdict = reply[0] if isinstance(reply, list) and reply else reply
        self.verdicts.add((script.name, _text(verdict)))
        return reply

    async def _writes(self) -> int:
        """How many changes the server has counted."""
        info: bytes = await super().call("INFO", "persistence")
        found = re.search(rb"rdb_changes_since_last_save:(\d+)", info)
        assert found
        return int(found[1])


def _asks_again(script: Script) -> bool:
    return any(re.search(r"\brun\b", line) for line in script.replies)


def _text(verdict: object) -> str:
    return verdict.decode() if isinstance(verdict, bytes) else ""


@dataclass(frozen=True)
class Arguments:
    """ARGV as declared in a header: packed fields, and the names before and after them."""

    before: tuple[str, ...]
    required: frozenset[str]
    optional: frozenset[str]
    blobs: tuple[str, ...]


@cache
def declared_arguments(args: tuple[str, ...]) -> Arguments:
    """The arguments that the `ARGV` lines of a header declare."""
    text = " ".join(args)
    before, _, rest = text.partition("arg{")
    depth, end = 1, 0
    while depth:
        depth += {"{": 1, "}": -1}.get(rest[end], 0)
        end += 1
    fields = re.sub(r"[\[{][^\[\]{}]*[\]}]", "", re.sub(r"\{[^{}]*\}", "", rest[: end - 1]))
    names = fields.split()
    return Arguments(
        tuple(before.split()),
        frozenset(name for name in names if not name.endswith("?")),
        frozenset(name.removesuffix("?") for name in names if name.endswith("?")),
        tuple(rest[end:].split()),
    )


def check_call(script: Script, market: str, keys: Sequence[str], args: Sequence[Any]) -> None:
    """Check that the keys and arguments of a call are those declared in the script's header."""
    names = []
    for key in keys:
        own = key.removeprefix(f"mallard:{{{market}}}:").removeprefix(WEBHOOKS)
        own = own.removeprefix("mallard:")
        name = own.partition(":")[0]
        names.append(_HEADER_NAMES.get(name, name))
    assert _key_pattern(script.keys).fullmatch("".join(f"{name} " for name in names)), (
        f"{script.name}: KEYS are {names}"
    )
    declared = declared_arguments(script.args)
    at = len(declared.before)
    # Nested packed values are byte strings, not text.
    sent = {k.decode() for k, v in msgpack.unpackb(args[at], raw=True).items() if v is not None}
    assert declared.required <= sent, f"{script.name}: no {declared.required - sent}"
    unknown = sent - declared.required - declared.optional
    assert not unknown, f"{script.name}: unknown {unknown}"
    blobs = len(args) - at - 1
    open_ended = any(name.endswith("...") for name in declared.blobs)
    is_right = blobs >= len(declared.blobs) if open_ended else blobs == len(declared.blobs)
    assert is_right, f"{script.name}: {len(args)} arguments"


@cache
def _key_pattern(declared: tuple[str, ...]) -> re.Pattern[str]:
    """The declared names in order, each with a space; `x...` stands for one or more."""
    parts = (f"({n.removesuffix('...')} ){'+' if n.endswith('...') else ''}" for n in declared)
    return re.compile("".join(parts))
