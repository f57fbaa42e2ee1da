"""The port `Controls` on Redis: what operators have set for a market."""

from mallard_engine.core.pauses import Pauses
from mallard_engine.ports import Controls, Paused
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.records.places import read_pause, read_pauses


class RedisControls(Controls):
    """Controls on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def pauses(self, market: str) -> Pauses:
        flat = await self._runner.link.call("HGETALL", self._runner.keys[market].key("pauses"))
        return read_pauses(dict(zip(flat[::2], flat[1::2], strict=True)))

    async def announce_changed(self, market: str) -> None:
        await self._runner.announce_changed(market)

    async def set_pause(
        self, market: str, mall: str, store: str, *, paused: bool, actor: str, reason: str
    ) -> Paused:
        keys = self._runner.keys[market]
        args = {"mall": mall, "store": store, "paused": paused, "actor": actor, "reason": reason}
        reply = await self._runner.transition("pause", keys, [keys.key("pauses")], args)
        await self._runner.announce_changed(market)
        pause = read_pause(reply.rest[1]) if paused else None
        return Paused(bool(reply.rest[0]), pause, reply.effects)
