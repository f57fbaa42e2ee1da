"""The Redis that commands read without a node: the configured one, or that of the data folder."""

import contextlib
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.storage.client.links import Store
from mallard_engine.storage.embedded.server import EmbeddedServer


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
    """
    check_url(settings)
    if settings.redis_url:
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


def _answers(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
