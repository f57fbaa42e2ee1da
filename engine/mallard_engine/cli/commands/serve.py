"""`mallard serve`: run one engine node."""

import argparse
import asyncio
import resource
import signal
import socket
import sys
import threading
from functools import partial
from typing import Any, Final

import structlog

from mallard_engine.cli.options import add_settings_flags, places_of, settings_of
from mallard_engine.cli.redis_url import check_url
from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.gc_tuning import collect_and_freeze
from mallard_engine.gateway.limits.connections import Connections, DescriptorPlan
from mallard_engine.gateway.node import Node
from mallard_engine.gateway.reloading import ConfigReloader, Read
from mallard_engine.gateway.server import Lifecycle, Server, server_config
from mallard_engine.logs import configure_logging
from mallard_engine.ports import StoreUnavailable
from mallard_engine.sandbox.crew import Crew
from mallard_engine.sandbox.service import RobotService
from mallard_engine.storage.client.errors import (
    DataFolderInUse,
    EmbeddedServerError,
    LinkReplyError,
)
from mallard_engine.storage.client.exposure import exposure
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.fitness import inspect_url
from mallard_protocol.codes import SANDBOX_MARKET

_log = structlog.get_logger(__name__)
# A Redis that was just started loads its data before it answers.
_LOADING_WITHIN_S: Final = 300.0
_OPS_BACKLOG: Final = 16
_OPS_CONNECTIONS: Final = 32
_ANY_HOST: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared


def add_parser(subparsers: Any) -> None:
    """Add `serve`."""
    parser: argparse.ArgumentParser = subparsers.add_parser("serve", help="run a node")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (default: 8000; 0: any free one)")
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends the node. Exit status 2 for an invalid configuration."""
    # SIGHUP ends a process by default. The start may take minutes, while Redis loads its data.
    hung_up = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: hung_up.set())
    read = partial(_read, args)
    settings, places = read()
    configure_logging(settings.log_format, settings.log_level)
    _raise_open_file_limit()
    if settings.redis_url:
        return _serve_on(settings, places, settings.redis_url, read, hung_up)
    try:
        # Started in the main thread: the embedded server ends with the thread that started it.
        demands = _demands(settings, places)
        # The server does not know that another process syncs its file: see `LogSync`.
        options = {"appendfsync": "always"} if "disk" in demands else {}
        with EmbeddedServer(settings.data, options=options) as store:
            where = f"the store in {settings.data}"
            if not _is_fit(store.url, where, embedded=True, demands=demands):
                return 1
            where = f"data in {settings.data}"
            return _serve(settings, places, store.url, where, store, read, hung_up)
    except DataFolderInUse as error:
        raise ConfigError(str(error)) from error
    except EmbeddedServerError as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 1


def _read(args: argparse.Namespace) -> tuple[Settings, Places]:
    """Read and check the configuration, at the start and for each reload."""
    settings = settings_of(args)
    if settings.binds_beyond_loopback and not settings.has_token_key:
        raise ConfigError(
            f"host {settings.host} can be reached from other machines: set MALLARD_SECRET, "
            "MALLARD_SECRET_FILE or a key set first"
        )
    return settings, places_of(settings)


def _serve_on(
    settings: Settings, places: Places, url: str, read: Read, hung_up: threading.Event
) -> int:
    """Serve on an external Redis; check it first, for a readable error."""
    check_url(settings)
    if missing := exposure(url):
        _log.warning("the connection to Redis is not protected", redis=_host_of(url), why=missing)
    demands = _demands(settings, places)
    fit = _is_fit(url, f"redis {_host_of(url)}", embedded=False, demands=demands)
    if not fit:
        return 1
    return _serve(settings, places, url, f"redis {_host_of(url)}", None, read, hung_up)


def _demands(settings: Settings, places: Places) -> frozenset[str]:
    """Return how durable the markets want their writes to be."""
    return frozenset(settings.market_policy(market).durability for market in places.markets)


def _is_fit(url: str, name: str, *, embedded: bool, demands: frozenset[str]) -> bool:
    """Return whether a Redis is fit to serve on, and print each reason against it."""
    try:
        found = asyncio.run(
            inspect_url(
                url,
                embedded=embedded,
                demands=demands,
                loading_within_s=_LOADING_WITHIN_S,
                on_loading=_log_loading,
            )
        )
    except (StoreUnavailable, LinkReplyError) as error:
        print(f"mallard: {name}: {error}", file=sys.stderr)
        return False
    refused = [finding.text for finding in found if finding.refuse]
    for text in refused:
        print(f"mallard: {name}: {text}", file=sys.stderr)
    return not refused


def _log_loading() -> None:
    _log.warning("the store is loading its data: waiting for it")


def _serve(
    settings: Settings,
    places: Places,
    url: str,
    where: str,
    store: EmbeddedServer | None,
    read: Read,
    hung_up: threading.Event,
) -> int:
    """Serve. ``hung_up``: whether a reload was asked for before the server could take it."""
    node = Node(settings, places, url, storage_server=store, owns_process=True)

    robots = _robots(settings, node)

    def listening(port: int) -> None:
        collect_and_freeze()
        node.presence.address = _own_address(settings.host, port)
        node.presence.on_drain = server.begin_exit
        if robots is not None:
            robots.start(_own_url(settings.host, port))
        print(f"mallard listens on {_url(settings.host, port)} ({where})", flush=True)
        if hung_up.is_set():
            reloader.request()
        if server.ops_port is not None:
            print(f"mallard: metrics on {_url(ops_host, server.ops_port)}", flush=True)

    async def release() -> None:
        if robots is not None:
            await robots.stop()
        await node.drain()

    reloader = ConfigReloader(read, node.reload)
    ops_host = settings.ops_host or settings.host
    server = Server(
        server_config(
            node.app,
            settings.host,
            settings.port,
            node.connections,
            backlog=DescriptorPlan.of_process().backlog,
        ),
        Lifecycle(
            release=release,
            prepare=node.start,
            leave=node.leave,
            linger_s=settings.drain_linger_s,
            listening=listening,
            reload=reloader.request,
        ),
        ops=None
        if settings.ops_port is None
        else server_config(
            node.ops_app,
            ops_host,
            settings.ops_port,
            Connections(most=_OPS_CONNECTIONS),
            backlog=_OPS_BACKLOG,
        ),
    )
    try:
        server.run()
    except SystemExit:  # uvicorn could not start; it has logged why
        return 1
    except (StoreUnavailable, LinkReplyError) as error:  # Redis was lost after the check
        print(f"mallard: {where}: {error}", file=sys.stderr)
        return 1
    return 0


def _robots(settings: Settings, node: Node) -> RobotService | None:
    """Return the robots of the sandbox; None without one."""
    if not settings.has_sandbox:
        return None

    async def work(url: str) -> None:
        crew = Crew(
            url,
            node.places.market(SANDBOX_MARKET),
            node.tokens.mint,
            robots=settings.sandbox_robots,
            orders_each=settings.sandbox_orders,
        )
        await crew.work()

    return RobotService(node.store.leases, node.id, work)


def _own_address(host: str, port: int) -> str:
    """Return the address at which an operator may reach the node: by its host's name if it listens
    on all addresses."""
    return _url(socket.gethostname() if host in _ANY_HOST else host, port)


def _own_url(host: str, port: int) -> str:
    """Return the address at which the node reaches itself."""
    return _url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - compared


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _raise_open_file_limit() -> None:
    """Raise the soft limit of open files, which bounds the sockets, to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _host_of(url: str) -> str:
    """A Redis URL without its user, password and parameters, of which some are passwords."""
    return url.partition("://")[2].partition("?")[0].rpartition("@")[2]
