"""Reads what is new in several streams, and waits for it."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.client.routing import slot_of_key
from mallard_engine.tasks import cancel

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

_POLL_MS: Final = 20
# The pause after a failed read of a slot.
_RETRY_S: Final = 0.2

Cursors = Mapping[bytes, str]
# By stream: the identifier and the fields of each entry.
Found = Sequence[tuple[bytes, Sequence[tuple[bytes, Sequence[bytes]]]]]


class StreamReader:
    """Reads streams on a connection that it has for itself, as a read blocks.

    One command reads streams of one slot only. On a cluster each slot has a connection of its own
    with a read that waits, so that neither an idle market nor one whose server is away delays the
    others.
    """

    def __init__(self, link: StoreLink, most: int) -> None:
        """Args: link: the connection; most: how many entries of a stream a read returns."""
        self.link = link
        self._most = most
        # A single server in cluster mode, and streams of several slots.
        self._is_split = False
        # On a cluster, by slot: the read under way, and from where.
        self._reads: dict[int, tuple[Cursors, asyncio.Task[Found]]] = {}

    async def read(self, cursors: Cursors, block_ms: int) -> Found:
        """Return entries after the cursor of each stream; wait up to `block_ms` for the first.

        Raises:
            StoreUnavailable: The server is away. On a cluster its streams are left out instead.
        """
        if isinstance(self.link, ClusterLink):
            return await self._read_slots(_by_slot(cursors), block_ms)
        if not self._is_split:
            try:
                return await self._read(cursors, block_ms)
            except LinkReplyError as error:
                if error.code != "CROSSSLOT":
                    raise
                self._is_split = True
        # A read that waits would delay the others, as there is one connection.
        groups = _by_slot(cursors).values()
        replies = await asyncio.gather(*(self._read(own, None) for own in groups))
        found = [entries for reply in replies for entries in reply]
        if not found:
            await asyncio.sleep(min(block_ms, _POLL_MS) / 1000)
        return found

    async def close(self) -> None:
        """End the reads under way."""
        tasks = [task for _, task in self._reads.values()]
        self._reads.clear()
        await cancel(*tasks)

    async def _read(self, cursors: Cursors, block_ms: int | None) -> Found:
        blocking = () if block_ms is None else ("BLOCK", block_ms)
        found: Found | None = await self.link.call(
            "XREAD", "COUNT", self._most, *blocking, "STREAMS", *cursors, *cursors.values()
        )
        return found or ()

    async def _read_slots(self, groups: Mapping[int, Cursors], block_ms: int) -> Found:
        for slot, cursors in groups.items():
            if slot not in self._reads:
                task = asyncio.create_task(self._read_slot(cursors, block_ms))
                self._reads[slot] = cursors, task
        if not self._reads:
            return ()
        done, _ = await asyncio.wait(
            [task for _, task in self._reads.values()], return_when=asyncio.FIRST_COMPLETED
        )
        found: list[tuple[bytes, Sequence[tuple[bytes, Sequence[bytes]]]]] = []
        for slot, (cursors, task) in tuple(self._reads.items()):
            if task in done:
                del self._reads[slot]
                # If its cursors have moved meanwhile, it has read from the wrong place.
                if groups.get(slot) == cursors:
                    found += task.result()
        return found

    async def _read_slot(self, cursors: Cursors, block_ms: int) -> Found:
        try:
            return await self._read(cursors, block_ms)
        except StoreUnavailable as problem:
            _often.warning("streams wait for their server", reason=str(problem))
            await asyncio.sleep(_RETRY_S)
            return ()


def _by_slot(cursors: Cursors) -> dict[int, dict[bytes, str]]:
    groups: defaultdict[int, dict[bytes, str]] = defaultdict(dict)
    for stream, cursor in cursors.items():
        groups[slot_of_key(stream)][stream] = cursor
    return groups
