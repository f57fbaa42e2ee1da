"""The orders that a node has confirmed lately, as bytes.

An order takes about a hundred bytes of one buffer. As objects it would take four times as much, in
pools among short-lived objects, whose memory Python could not return after a burst.
"""

import math
import struct
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from mallard_engine.ports import ConfirmedOrder

# When an order was confirmed, and the size of its record, which follows.
_HEAD: Final = struct.Struct("<dI")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(ConfirmedOrder).decode


class OrderLog:
    """Orders with the times (seconds) at which they were confirmed, the oldest first.

    Args:
        most: Beyond this many, the oldest are dropped.
    """

    __slots__ = ("_count", "_most", "_packed", "newest_s")

    def __init__(self, most: int) -> None:
        self.newest_s = -math.inf
        self._most = most
        self._count = 0
        self._packed = bytearray()

    def __len__(self) -> int:
        """Number of orders."""
        return self._count

    def __iter__(self) -> Iterator[tuple[float, ConfirmedOrder]]:
        """Yield each order with its time."""
        at = 0
        with memoryview(bytes(self._packed)) as packed:
            while at < len(packed):
                at_s, size = _HEAD.unpack_from(packed, at)
                at += _HEAD.size + size
                yield at_s, _unpack(packed[at - size : at])

    def add(self, at_s: float, order: ConfirmedOrder) -> None:
        """Add an order that is newer than all others."""
        record = _pack(order)
        self._packed += _HEAD.pack(at_s, len(record)) + record
        self._count += 1
        self.newest_s = at_s
        if self._count > self._most:
            self._drop_first()

    def drop_before(self, since_s: float) -> None:
        """Drop the orders from before this time."""
        while self._packed and _HEAD.unpack_from(self._packed)[0] < since_s:
            self._drop_first()

    def remove(self, jobs: Collection[str]) -> None:
        """Drop the orders of these jobs."""
        kept = [(at_s, order) for at_s, order in self if order.job not in jobs]
        self._packed.clear()
        self._count, self.newest_s = 0, -math.inf
        for at_s, order in kept:
            self.add(at_s, order)

    def _drop_first(self) -> None:
        # A bytearray drops its beginning without moving the rest.
        _, size = _HEAD.unpack_from(self._packed)
        del self._packed[: _HEAD.size + size]
        self._count -= 1
