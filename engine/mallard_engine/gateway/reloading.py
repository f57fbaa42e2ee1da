"""Reloads a node's configuration on SIGHUP, completely or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy

_log = structlog.get_logger(__name__)

Read = Callable[[], tuple[Settings, Places]]
"""Reads and checks a configuration, as at the start. Raises `ConfigError`."""


class ConfigReloader:
    """Handles reload signals, one at a time; signals during a reload cause one more.

    Args:
        read: reads the configuration.
        apply: makes a node use it, or raises `ConfigError` without changing anything.
    """

    def __init__(self, read: Read, apply: Callable[[Read], Awaitable[None]]) -> None:
        self._read = read
        self._apply = apply
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def request(self) -> None:
        """Request a reload."""
        self._asked = True
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="reload")

    async def _serve(self) -> None:
        try:
            while self._asked:
                self._asked = False
                try:
                    await self._apply(self._read)
                except ConfigError as error:
                    _refused(str(error))
                except Exception as error:  # noqa: BLE001 - a failed reload must not stop the node
                    _refused(repr(error))
        finally:
            self._task = None


def restart_settings(settings: Settings) -> Settings:
    """Return the settings without those that a reload applies; the rest requires a restart."""
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
    _log.error("configuration refused: the old one stays in use", reason=reason)
