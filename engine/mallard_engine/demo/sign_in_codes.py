"""One-time codes of pages, kept in a Redis from outside of a node."""

from collections.abc import Sequence

from mallard_engine.gateway.auth.sign_in import keep_token
from mallard_engine.storage.calls.control.sign_in_codes import RedisSignInCodes
from mallard_engine.storage.client.links import Store


async def kept_codes(redis_url: str, tokens: Sequence[str]) -> list[str]:
    """Keep tokens in a Redis; return their one-time codes. Raises `StoreUnavailable`."""
    link = Store(redis_url).link()
    await link.connect()
    try:
        return [await keep_token(RedisSignInCodes(link.call), token) for token in tokens]
    finally:
        await link.close()
