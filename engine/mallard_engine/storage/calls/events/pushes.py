"""The port `PushStream` on Redis."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mallard_engine.ports import PushEntry, PushSink, PushStream
from mallard_engine.storage.calls.offered_runs import OfferedRun, OfferedRuns
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.client.streams import StreamReader
from mallard_engine.storage.records.effects import read_push

_PUSHES_A_READ = 500
# A node trims its stream of a market each time it has read this many entries.
_TRIM_AFTER = 1_000


class RedisPushes(PushStream):
    """The push streams on Redis.

    ``tail`` is a connection of its own: a blocking read must not delay other calls.
    """

    def __init__(self, runner: ScriptRunner, tail: StoreLink, runs: OfferedRuns) -> None:
        self._runner = runner
        self.reader = StreamReader(tail, _PUSHES_A_READ)
        self._runs = runs
        # By market: how many entries of its stream were read since it was trimmed.
        self._read: Counter[str] = Counter()

    def deliver_to(self, sink: PushSink, reply_lost: Callable[[str], None]) -> None:
        self._runner.deliver, self._runner.reply_lost = sink.deliver, reply_lost

    async def head(self, market: str) -> str:
        # Not the tail's connection: the replies of transitions come before this one.
        newest = await self._runner.link.call("XREVRANGE", self._key(market), "+", "-", "COUNT", 1)
        return newest[0][0].decode() if newest else "0-0"

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        await self._trim(cursors)
        markets = {self._key(market).encode(): market for market in cursors}
        read_from = dict(zip(markets, cursors.values(), strict=True))
        entries = []
        for stream, items in await self.reader.read(read_from, block_ms):
            for cursor, (_, body, _, card) in items:
                push = read_push(body, card)
                if push.offer:
                    names = tuple([job.job for job in push.offer.jobs])
                    self._runs.add(push.offer.offer, OfferedRun(names, push.offer.mall))
                entries.append(PushEntry(markets[stream], cursor.decode(), push))
            self._read[markets[stream]] += len(items)
        return entries

    async def _trim(self, cursors: Mapping[str, str]) -> None:
        """Delete now and then what this node has delivered."""
        due = [market for market, read in self._read.items() if read >= _TRIM_AFTER]
        for market in due:
            del self._read[market]
            if market in cursors:
                await self.reader.link.call(
                    "XTRIM", self._key(market), "MINID", "~", cursors[market]
                )

    def _key(self, market: str) -> str:
        return self._runner.keys[market].pushes(self._runner.node)
