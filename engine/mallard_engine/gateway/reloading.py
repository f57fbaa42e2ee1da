"""SIGHUP: a node reads its configuration again and takes over all of it that it can, or nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy

_log = structlog.get_logger(__name__)

Read = Callable[[], tuple[Settings, Places]]
"""Reads and checks a configuration as at start. Raises `ConfigError`."""


class ConfigReloader:
    """Answers signals: one reading at a time, and one more for all that came meanwhile.

    ``take_over`` makes a node use what it reads, or raises `ConfigError` and changes nothing.
    """

    def __init__(self, read: Read, take_over: Callable[[Read], Awaitable[None]]) -> None:
        self._read = read
        self._take_over = take_over
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Read the configuration again."""
        self._asked = True
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="reload")

    async def _serve(self) -> None:
        try:
            while self._asked:
                self._asked = False
                try:
                    await self._take_over(self._read)
                except ConfigError as error:
                    _refused(str(error))
                except Exception as error:  # noqa: BLE001 - no reading may end a node that serves
                    _refused(repr(error))
        finally:
            self._task = None


def fixed(settings: Settings) -> Settings:
    """Return the settings without those that a reload takes over: what is left takes a restart."""
    return replace(
        settings,
        secret=None,
        secret_file=None,
        second_secret=None,
        second_secret_file=None,
        key_set_file=None,
        opening_hours="on",
        places=None,
        policy=MarketPolicy(),
        markets={},
    )


def _refused(reason: str) -> None:
    _log.error("the configuration is refused: the old one stays", reason=reason)
