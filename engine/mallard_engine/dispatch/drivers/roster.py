"""Who is expected on duty: blocks that the market has given out in advance.

A batch plans with a driver whose block begins soon as with one who will be free soon: its job waits
for it, and nothing is offered before it is there. One who does not come costs what it cost to wait
for it; the next batch thinks again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mallard_engine.core.batch.solver import BatchDriver
from mallard_engine.core.model import Driver
from mallard_engine.dispatch.context import Context
from mallard_protocol.lifecycle import Wish


@dataclass(frozen=True, slots=True)
class Block:
    """A driver's block, and where the driver is expected to begin it."""

    driver: str
    lat: float
    lon: float
    on_ms: int
    off_ms: int


class Roster:
    """The blocks to come of the markets that plan with them (rounds in batches)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # By market, the last to begin first.
        self._blocks: dict[str, list[Block]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._blocks.values()))

    def expect(self, market: str, blocks: Iterable[Block]) -> None:
        """These are a market's blocks to come, in place of what was known of them."""
        self._blocks[market] = sorted(blocks, key=lambda block: (-block.on_ms, block.driver))

    def drivers(self, market: str, now_ms: int) -> list[BatchDriver]:
        """Those whose block begins within the market's horizon, and has not begun."""
        blocks = self._blocks.get(market)
        if not blocks:
            return []
        while blocks and blocks[-1].on_ms <= now_ms:
            blocks.pop()
        horizon_ms = now_ms + int(self._context.policy(market).soon_on_s * 1000)
        expected = []
        for block in reversed(blocks):
            if block.on_ms > horizon_ms:
                break
            driver = Driver(id=block.driver, wish=Wish.OFFLINE, until_ms=block.off_ms)
            expected.append(BatchDriver(driver, block.lat, block.lon, block.on_ms))
        return expected
