"""`mallard archive`: write every job that has ended to files and to PostgreSQL."""

import argparse
import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from mallard_engine.archive.exporter import ArchiveInUse, Exporter
from mallard_engine.archive.files import FileArchive
from mallard_engine.archive.targets import Target, TargetUnavailable
from mallard_engine.cli.options import add_settings_flags, market_named, places_of, settings_of
from mallard_engine.cli.redis_url import redis_url
from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.logs import configure_logging
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.archive_queue import ArchiveQueue
from mallard_engine.storage.client.errors import EmbeddedServerError, LinkReplyError
from mallard_engine.storage.redis_storage import RedisStorage

_log = structlog.get_logger(__name__)
_DAY_MS: Final = 86_400_000
_MB: Final = 1_000_000


def add_parser(subparsers: Any) -> None:
    """Add `archive`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "archive",
        help="write every job that has ended to an archive",
        description="Follows the markets' events and writes each job that has ended, with all that "
        "is known of it, until a signal ends it. Redis keeps ended jobs until the archive has "
        "them, within archive_hold_days. Run it with the settings of the nodes.",
    )
    parser.add_argument(
        "--archive-files", metavar="DIR", help="the folder of the archive's JSON lines"
    )
    parser.add_argument(
        "--archive-postgres", metavar="URL", help="the archive's PostgreSQL database"
    )
    parser.add_argument(
        "--market", action="append", metavar="M", help="only this market; may be repeated"
    )
    parser.add_argument(
        "--once", action="store_true", help="archive what has ended so far, and exit"
    )
    parser.add_argument(
        "--remove", action="store_true", help="stop holding jobs for an archive, and exit"
    )
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Archive. Exit status 1 if Redis or the archive cannot be used."""
    settings = settings_of(args)
    places = places_of(settings)
    markets = [market_named(name, places).id for name in args.market or places.markets]
    targets = [] if args.remove else _targets(settings)
    configure_logging(settings.log_format, settings.log_level)
    try:
        with redis_url(settings) as url:
            work = _Work(settings, url, list(dict.fromkeys(markets)), targets)
            asyncio.run(work.remove() if args.remove else work.archive(once=args.once))
    except (
        *(ArchiveInUse, TargetUnavailable),
        *(StoreUnavailable, LinkReplyError, EmbeddedServerError),
    ) as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 1
    return 0


def _targets(settings: Settings) -> list[Target]:
    targets: list[Target] = []
    if settings.archive_files is not None:
        if not str(settings.archive_files).strip():
            raise ConfigError("archive_files is empty", "archive_files")
        segment_bytes = settings.archive_segment_mb * _MB
        targets.append(FileArchive(Path(settings.archive_files), segment_bytes))
    if settings.archive_postgres is not None:
        targets.append(_postgres(settings.archive_postgres))
    if not targets:
        raise ConfigError("name an archive: --archive-files or --archive-postgres")
    return targets


def _postgres(url: str) -> Target:
    try:
        postgres = importlib.import_module("mallard_engine.archive.postgres")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"there is no module {error.name}: pip install 'mallard-engine[archive]'"
        ) from error
    target: Target = postgres.PostgresArchive(url)
    return target


class _Work:
    """One run of the command."""

    def __init__(
        self, settings: Settings, url: str, markets: Sequence[str], targets: Sequence[Target]
    ) -> None:
        self._settings = settings
        self._url = url
        self._markets = markets
        self._targets = targets

    async def archive(self, *, once: bool) -> None:
        """Archive until a signal, or what there is."""
        async with self._store() as (store, queue), contextlib.AsyncExitStack() as stack:
            for target in self._targets:
                stack.push_async_callback(target.close)
                await target.open()
            exporter = Exporter(
                store,
                queue,
                self._targets,
                self._markets,
                hold_ms=round(self._settings.archive_hold_days * _DAY_MS),
            )
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, exporter.stop)
            print(f"mallard archives {', '.join(self._markets)}", flush=True)
            await (exporter.run_once() if once else exporter.run())
            print(f"{exporter.written} jobs archived", flush=True)

    async def remove(self) -> None:
        """Stop holding jobs."""
        async with self._store() as (_, queue):
            for market in self._markets:
                await queue.remove(market)

    @contextlib.asynccontextmanager
    async def _store(self) -> Any:
        policies = {market: self._settings.market_policy(market) for market in self._markets}
        store = RedisStorage(self._url, policies, embedded=self._settings.redis_url is None)
        try:
            await store.connect()
            yield store, ArchiveQueue(store.runner)
        finally:
            await store.close()
