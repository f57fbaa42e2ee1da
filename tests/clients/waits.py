"""Waiting that takes no time and is written down."""

import asyncio

# More turns of the loop than any chain of tasks of the client takes.
_TURNS = 50


async def settled() -> None:
    """Let every task run until it waits for the network, a timer or a condition."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class Waits:
    """A `sleep` that returns at the loop's next turn and remembers how long it should have been.

    While `passing` is not set, no call returns.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.passing = asyncio.Event()
        self.passing.set()

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)
        await self.passing.wait()
