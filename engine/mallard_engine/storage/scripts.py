"""Loads and runs the Lua scripts: one file is one transition, and its header is the contract.

The folders of `lua/` sort the scripts by what they change. A script's file name is unique among all
of them. A script starts with `#!lua` (optionally ` flags=…`), followed by comments with its purpose
and by lines of the forms

    -- KEYS   drivers idle jobs...
    -- ARGV   driver epoch
    -- REPLY  gone | {"ok", seq}

A name that ends in `...` stands for one or more values. A line `-- include lib/x.lua` is replaced
by that file's text, once however often it is named.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Self

from mallard_engine.storage.client.connection import Command
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink

_SHEBANG = re.compile(r"#!lua(?: flags=([a-z,-]+))?$")
# Folders of `lua/` that hold no transitions: parts of scripts, and the audit's own script.
_OTHERS = frozenset({"audit", "lib"})
_INCLUDE = re.compile(r"^-- include (lib/\w+\.lua)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One transition. `keys` and `args` are the names in its header, `replies` its REPLY lines."""

    name: str
    source: bytes
    sha: bytes
    flags: frozenset[str]
    keys: tuple[str, ...]
    args: tuple[str, ...]
    replies: tuple[str, ...]

    @classmethod
    def parse(cls, name: str, text: str, folder: Traversable) -> Self:
        """Parse a script's header and insert the files of `folder` that it includes.

        Raises:
            ValueError: The first line is not `#!lua` with or without flags.
        """
        shebang = _SHEBANG.match(text.partition("\n")[0])
        if not shebang:
            raise ValueError(f"{name}.lua does not start with #!lua or #!lua flags=…")
        source = _expand(text, folder, set()).encode()
        return cls(
            name=name,
            source=source,
            sha=_sha(source),
            flags=frozenset((shebang[1] or "").split(",")) - {""},
            keys=tuple(" ".join(_header(text, "KEYS")).split()),
            args=tuple(" ".join(_header(text, "ARGV")).split()),
            replies=tuple(_header(text, "REPLY")),
        )

    @property
    def writes(self) -> bool:
        """Whether the script may write."""
        return "no-writes" not in self.flags

    async def run(
        self,
        link: StoreLink,
        keys: Sequence[str | bytes],
        args: Sequence[str | bytes | int | float] = (),
    ) -> Any:
        """Run the script in one atomic step and return its reply. Raises what `Link.call` raises.

        A server that has lost its scripts is sent this one with the call, and keeps it: the attempt
        without it had no effect.
        """
        try:
            return await link.call(b"EVALSHA", self.sha, len(keys), *keys, *args)
        except LinkReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return await link.call(b"EVAL", self.source, len(keys), *keys, *args)


def script_files() -> dict[str, Traversable]:
    """Return the file of every script by the script's name (its file without `.lua`)."""
    groups = [it for it in _folder().iterdir() if it.is_dir() and it.name not in _OTHERS]
    files = [file for group in groups for file in group.iterdir() if file.name.endswith(".lua")]
    return {it.name.removesuffix(".lua"): it for it in sorted(files, key=lambda it: it.name)}


@cache
def all_scripts() -> Mapping[str, Script]:
    """Return every script of the package by name (its file without `.lua`)."""
    return MappingProxyType(
        {
            name: Script.parse(name, file.read_text(encoding="utf-8"), _folder())
            for name, file in script_files().items()
        }
    )


@cache
def script_when_full(name: str) -> Script:
    """Return the script with `allow-oom`, so that a full server runs it as well.

    For a transition that a full server refuses by rule and the caller allows by exception.
    """
    script = all_scripts()[name]
    _, _, rest = script.source.partition(b"\n")
    source = b"#!lua flags=allow-oom\n" + rest
    return replace(script, source=source, sha=_sha(source), flags=script.flags | {"allow-oom"})


def load_commands() -> list[Command]:
    """Return the commands that load every script, for the handshake of a `Link`."""
    return [(b"SCRIPT", b"LOAD", script.source) for script in all_scripts().values()]


def _folder() -> Traversable:
    return resources.files("mallard_engine.storage") / "lua"


def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()


def _expand(text: str, folder: Traversable, included: set[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in included:
            return ""
        included.add(name)
        return _expand(folder.joinpath(name).read_text(encoding="utf-8"), folder, included)

    return _INCLUDE.sub(replace, text)


def _header(text: str, word: str) -> list[str]:
    """Return what follows `-- WORD` on each such line of the header."""
    lines = text.splitlines()[1:]
    top = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    start = f"-- {word}"
    return [
        line.removeprefix(start).lstrip(": ").rstrip()
        for line in lines[:top]
        if line.startswith((f"{start} ", f"{start}:"))
    ]
