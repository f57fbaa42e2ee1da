"""Decides which versions of the engine may share a Redis, by a mark that each node writes to it.

The mark has two numbers. `written` is the highest schema that any node has written; `oldest_reader`
is the lowest schema whose nodes may still read the store. A change of what is stored is made in two
releases (expand, contract): the first reads both forms and writes the old one or both, the second
writes the new form only and raises `oldest_reader`. `docs/howto/upgrade.md` has the rules.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.scripts import all_scripts

KEY: Final = "mallard:schema"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a version writes, and the oldest version that may read it."""

    written: int
    oldest_reader: int


OURS: Final = Schema(written=6, oldest_reader=5)
"""1: up to commit 004825d, which left no mark. 2: jobs keep problems, proofs and reported times.
3: shops, holds, returns, transfers; jobs may be `failed`. 4: a stream of pushes for each node. 5:
reads packed jobs. 6: packs them, so that a node below 5 must not share Redis, and no longer
writes what only those read: the queue of schema 1, the market's stream of pushes."""

_UNKNOWN: Final = "another program, or an unknown version, has written to this store"

OLDEST_READABLE: Final = 1
"""The oldest schema that this version reads."""


class WrongSchema(StoreUnavailable):
    """This version must not use the storage; the message says what to do in one line."""


def refusal(found: Schema | None) -> str | None:
    """Return why this version must not use a Redis with this mark; None if it may.

    A Redis without a mark is empty or of schema 1.
    """
    found = found or Schema(written=1, oldest_reader=1)
    if found.oldest_reader > OURS.written:
        return (
            f"the store was written by a newer version (schema {found.written}, readable from "
            f"{found.oldest_reader} on), and this one reads up to schema {OURS.written}: "
            "run the newer version"
        )
    if found.written < OLDEST_READABLE:
        return (
            f"the store has schema {found.written}, and this version reads from "
            f"{OLDEST_READABLE} on: open it with the version between first"
        )
    return None


def read_mark(flat: Sequence[bytes] | None) -> Schema | None:
    """Read the mark as HGETALL gives it; None without one. Raises `WrongSchema` for no mark."""
    if not flat:
        return None
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    try:
        return Schema(int(fields[b"written"]), int(fields[b"oldest_reader"]))
    except (KeyError, ValueError):
        raise WrongSchema(f"its key {KEY} is not a version's mark: {_UNKNOWN}") from None


async def check(link: StoreLink, copies: Sequence[str] = ()) -> None:
    """Read the mark only, or a copy of it if the server that has it is away.

    Raises:
        WrongSchema: This version must not use the store.
        StoreUnavailable: The mark cannot be read.
    """
    try:
        flat = await link.call("HGETALL", KEY)
    except LinkReplyError as error:
        if isinstance(error, StoreUnavailable) and error.code != "NOPERM":
            raise
        if error.code == "WRONGTYPE":
            raise WrongSchema(f"its key {KEY} is not a version's mark: {_UNKNOWN}") from None
        return
    except StoreUnavailable:
        if not await _has_good_copy(link, copies):
            raise
        return
    if why := refusal(read_mark(flat)):
        raise WrongSchema(why)


async def _has_good_copy(link: StoreLink, copies: Sequence[str]) -> bool:
    reads = (link.call("HMGET", copy, "written", "oldest_reader") for copy in copies)
    found = await asyncio.gather(*reads, return_exceptions=True)
    marks = [Schema(*map(int, it)) for it in found if isinstance(it, list) and all(it)]
    for why in filter(None, map(refusal, marks)):
        raise WrongSchema(why)
    return bool(marks)


async def mark(link: StoreLink, copies: Sequence[str] = ()) -> None:
    """Write this version's mark, unless a later version has written a higher one.

    Args:
        link: The connection.
        copies: Hashes that keep the mark as well, of which a server that is away may have some: a
            cluster can then be judged while the server of the mark is away.

    Raises `WrongSchema` if this version must not use Redis, and what `Link.call` raises.
    """
    await check(link, copies)
    packed = pack({"written": OURS.written, "oldest_reader": OURS.oldest_reader})
    script = all_scripts()["mark_schema"]
    writes = (script.run(link, [key], ["", packed]) for key in (KEY, *copies))
    for reply in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(reply, BaseException):
            if copies and isinstance(reply, StoreUnavailable):
                continue
            raise reply
        verdict, *found = reply
        if verdict == b"newer" and (why := refusal(Schema(*map(int, found)))):
            raise WrongSchema(why)
