"""Links that open a page signed in."""

import asyncio
from collections.abc import Sequence

from mallard_engine.cli.redis_url import redis_url
from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.demo.sign_in_codes import kept_codes
from mallard_engine.gateway.auth.sign_in import page_link
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.errors import EmbeddedServerError
from mallard_protocol.codes import Role


def links_of(settings: Settings, role: Role, tokens: Sequence[str]) -> list[str]:
    """Return a link for each token, which works once, within five minutes.

    Raises:
        ConfigError: the Redis of the settings cannot be used.
    """
    address = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
    try:
        with redis_url(settings) as url:
            codes = asyncio.run(kept_codes(url, tokens))
    except (StoreUnavailable, EmbeddedServerError) as error:
        raise ConfigError(f"a link needs the engine's store: {error}") from error
    return [page_link(address, role, code) for code in codes]
