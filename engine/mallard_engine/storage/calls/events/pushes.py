"""The port `PushStream` on Redis."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mallard_engine.ports import PushEntry, PushSink, PushSource, PushStream
from mallard_engine.storage.calls.offered_runs import OfferedRun, OfferedRuns
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.client.streams import StreamReader
from mallard_engine.storage.records.effects import read_push

_PUSHES_A_READ = 500
# A node trims its own stream each time it has read this many entries.
_TRIM_AFTER = 1_000


class RedisPushes(PushStream):
    """The push streams on Redis.

    ``tail`` is a connection of its own: a blocking read must not delay other calls.
    """

    def __init__(self, runner: ScriptRunner, tail: StoreLink, runs: OfferedRuns) -> None:
        self._runner = runner
        self.reader = StreamReader(tail, _PUSHES_A_READ)
        self._runs = runs
        # How many entries of each stream were read since it was trimmed.
        self._read: Counter[PushSource] = Counter()

    def deliver_to(self, sink: PushSink, reply_lost: Callable[[str], None]) -> None:
        self._runner.deliver, self._runner.reply_lost = sink.deliver, reply_lost

    async def heads(self, market: str) -> Mapping[PushSource, str]:
        # Not the tail's connection: the replies of transitions come before these.
        call = self._runner.link.call
        sources = (PushSource(market), PushSource(market, shared=True))
        newest = await asyncio.gather(
            *(call("XREVRANGE", self._key(source), "+", "-", "COUNT", 1) for source in sources)
        )
        return {
            source: entries[0][0].decode() if entries else "0-0"
            for source, entries in zip(sources, newest, strict=True)
        }

    async def read(self, cursors: Mapping[PushSource, str], block_ms: int) -> Sequence[PushEntry]:
        await self._trim(cursors)
        sources = {self._key(source).encode(): source for source in cursors}
        read_from = dict(zip(sources, cursors.values(), strict=True))
        entries = []
        for stream, items in await self.reader.read(read_from, block_ms):
            for cursor, (_, body, _, card) in items:
                push = read_push(body, card)
                if push.offer:
                    names = tuple([job.job for job in push.offer.jobs])
                    self._runs.add(push.offer.offer, OfferedRun(names, push.offer.mall))
                entries.append(PushEntry(sources[stream], cursor.decode(), push))
            self._read[sources[stream]] += len(items)
        return entries

    async def _trim(self, cursors: Mapping[PushSource, str]) -> None:
        """Delete now and then what this node has delivered of its own streams."""
        due = [source for source, read in self._read.items() if read >= _TRIM_AFTER]
        for source in due:
            del self._read[source]
            if source in cursors and not source.shared:
                await self.reader.link.call(
                    "XTRIM", self._key(source), "MINID", "~", cursors[source]
                )

    def _key(self, source: PushSource) -> str:
        keys = self._runner.keys[source.market]
        return keys.key("push") if source.shared else keys.pushes(self._runner.node)
