"""Waiting that takes no time and is written down."""

import asyncio


class Waits:
    """A `sleep` that returns at the loop's next turn and remembers how long it should have been.

    While `passing` is not set, nobody comes back.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.passing = asyncio.Event()
        self.passing.set()

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)
        await self.passing.wait()
