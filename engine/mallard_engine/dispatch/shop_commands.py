"""Commands of the counter of a shop: each is one transition and its effects."""

from mallard_engine.dispatch.context import ApplyEffects, Context


class ShopCommands:
    """Executes what a shop reports about itself and its jobs, and applies the effects."""

    def __init__(self, context: Context, apply_effects: ApplyEffects) -> None:
        self._context = context
        self._shops = context.storage.shops
        self._apply_effects = apply_effects

    async def set_hours(self, mall: str, store: str, until_ms: int, actor: str) -> None:
        """See :meth:`mallard_engine.ports.Shops.set_hours`."""
        market = self._context.places.market_of_mall(mall).id
        self._apply_effects(
            market, await self._shops.set_hours(market, mall, store, until_ms, actor)
        )
