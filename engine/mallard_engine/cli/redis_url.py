"""The Redis that commands read without a node: the configured one, or that of the data folder."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.connection import time_limit
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import Store
from mallard_engine.storage.embedded.server import EmbeddedServer

# A person waits, but a TLS handshake may take seconds on a busy machine. Nodes wait longer still.
_ANSWERS_WITHIN_S: Final = 4.0


def check_url(settings: Settings) -> None:
    """Raise `ConfigError` if `redis_url` is set and cannot be used."""
    if settings.redis_url:
        try:
            Store(settings.redis_url)
        except ValueError as error:
            raise ConfigError(f"redis_url: {error}") from error


@contextlib.contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """Yield the URL of the configured Redis, or of the data folder's embedded server.

    If no node runs that server, it is started for the audit. It loads its append-only file and
    changes none of the data. Overdue work is not a violation then, as no node could have done it.

    Raises:
        ConfigError: There is none.
        StoreUnavailable: The configured Redis cannot be reached, or is silent.
        EmbeddedServerError: The embedded server cannot be started.
    """
    check_url(settings)
    if settings.redis_url:
        asyncio.run(_reach(Store(settings.redis_url)))
        yield settings.redis_url
        return
    if not (settings.data / "server").is_dir():
        raise ConfigError(f"there is no store in {settings.data}: name one with --data or --redis")
    server = EmbeddedServer(settings.data)
    if _answers(server.url):
        yield server.url
        return
    with server:
        yield server.url


async def _reach(store: Store) -> None:
    """Raise `StoreUnavailable` unless a Redis answers soon, be it with an error."""
    # In a cluster one server is enough: half of the time for the others.
    link = store.link(master_only=False, deadline_s=_ANSWERS_WITHIN_S / 2)
    try:
        async with time_limit(_ANSWERS_WITHIN_S):
            await link.connect()
    except TimeoutError:
        raise StoreUnavailable(
            f"the store at {store} is silent: no answer within {_ANSWERS_WITHIN_S:g} s"
        ) from None
    except LinkReplyError:
        pass  # the command reports it, or can do without
    finally:
        await link.close()


def _answers(url: str) -> bool:
    with redis.Redis.from_url(
        url, socket_timeout=_ANSWERS_WITHIN_S, retry=Retry(NoBackoff(), 0)
    ) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
