"""Decides which versions of the engine may share a store, by a mark that each node writes to it.

The mark has two numbers. `written` is the highest schema that any node has written; `oldest_reader`
is the lowest schema whose nodes may still read the store. A change of what is stored is made in two
releases (expand, contract): the first reads both forms and writes the old one or both, the second
writes the new form only and raises `oldest_reader`. `docs/howto/upgrade.md` has the rules.
"""

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


OURS: Final = Schema(written=5, oldest_reader=1)
"""1: up to commit 004825d, which left no mark. 2: jobs keep problems, proofs and reported times.
3: shops, holds, returns, transfers; jobs may be `failed`. 4: a stream of pushes for each node. 5:
reads packed jobs."""

_UNKNOWN: Final = "another program, or an unknown version, has written to this store"

OLDEST_READABLE: Final = 1
"""The oldest schema that this version reads."""


class WrongSchema(StoreUnavailable):
    """This version must not use the storage; the message says what to do in one line."""


def refusal(found: Schema | None) -> str | None:
    """Return why this version must not use a store with this mark; None if it may.

    A store without a mark is empty or of schema 1.
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
        raise WrongSchema(f"its key {KEY} is no mark of a version: {_UNKNOWN}") from None


async def check(link: StoreLink) -> None:
    """Read the mark only. Raises `WrongSchema` if this version must not use the store."""
    try:
        flat = await link.call("HGETALL", KEY)
    except LinkReplyError as error:
        if isinstance(error, StoreUnavailable) and error.code != "NOPERM":
            raise
        if error.code == "WRONGTYPE":
            raise WrongSchema(f"its key {KEY} is no mark of a version: {_UNKNOWN}") from None
        return
    if why := refusal(read_mark(flat)):
        raise WrongSchema(why)


async def mark(link: StoreLink) -> None:
    """Write this version's mark, unless a later version has written a higher one.

    Raises `WrongSchema` if this version must not use the store, and what `Link.call` raises.
    """
    await check(link)
    args = {"written": OURS.written, "oldest_reader": OURS.oldest_reader}
    verdict, *found = await all_scripts()["mark_schema"].run(link, [KEY], ["", pack(args)])
    if verdict == b"newer" and (why := refusal(Schema(*map(int, found)))):
        raise WrongSchema(why)
