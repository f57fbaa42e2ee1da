"""The port `PushStream` on Redis."""

from collections.abc import Mapping, Sequence

from mallard_engine.ports import PushEntry, PushStream
from mallard_engine.storage.calls.offered_runs import OfferedRun, OfferedRuns
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.records.effects import read_push

_PUSHES_A_READ = 500


class RedisPushes(PushStream):
    """The push streams on Redis.

    ``tail`` is a connection of its own: a blocking read must not delay other calls.
    """

    def __init__(self, runner: ScriptRunner, tail: Link, runs: OfferedRuns) -> None:
        self._runner = runner
        self._tail = tail
        self._runs = runs

    async def head(self, market: str) -> str:
        entries = await self._runner.link.call(
            "XREVRANGE", self._runner.keys[market].key("push"), "+", "-", "COUNT", 1
        )
        return entries[0][0].decode() if entries else "0-0"

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        markets = {self._runner.keys[market].key("push").encode(): market for market in cursors}
        reply = await self._tail.call(
            "XREAD", "COUNT", _PUSHES_A_READ, "BLOCK", block_ms, "STREAMS", *markets,
            *cursors.values(),
        )  # fmt: skip
        entries = []
        for stream, items in reply or ():
            for cursor, (_, body, _, card) in items:
                push = read_push(body, card)
                if push.offer:
                    names = tuple([job.job for job in push.offer.jobs])
                    self._runs.add(push.offer.offer, OfferedRun(names, push.offer.mall))
                entries.append(PushEntry(markets[stream], cursor.decode(), push))
        return entries
