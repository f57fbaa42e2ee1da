"""The port `Shops` on Redis: what the counter of a shop reads and reports."""

from mallard_engine.ports import Effects, Shops
from mallard_engine.storage.calls.script_runner import ScriptRunner


class RedisShops(Shops):
    """Shops on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def set_hours(
        self, market: str, mall: str, store: str, until_ms: int, actor: str
    ) -> Effects:
        keys = self._runner.keys[market]
        args = {"mall": mall, "store": store, "until_ms": until_ms, "actor": actor}
        reply = await self._runner.transition("shop_hours", keys, [keys.key("holds")], args)
        return reply.effects
