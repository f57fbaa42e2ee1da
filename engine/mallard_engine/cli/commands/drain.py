"""`mallard drain NODE`: have a node hand its drivers over and stop, and wait until it has."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mallard_client import OperatorClient
from mallard_client.errors import ApiProblem, CallFailed, Unreachable
from mallard_engine.cli.live.engine import PATIENCE, add_engine_flags, call_engine
from mallard_engine.cli.live.tables import duration
from mallard_engine.cli.options import number
from mallard_engine.config.settings import ConfigError
from mallard_engine.input_files import quoted
from mallard_protocol.control import NodeState, NodeView

_WITHIN_S: Final = 60
_MOST_S: Final = 3600
_ASK_S: Final = 0.5
_ALIVE: Final = frozenset({NodeState.SERVING, NodeState.DRAINING})


def add_parser(subparsers: Any) -> None:
    """Add `drain`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "drain",
        help="have a node hand its drivers over and stop",
        description="Asks a node to drain, as SIGTERM does: it reports itself as not ready, serves "
        "for MALLARD_DRAIN_LINGER_S, sends its drivers to other nodes and stops. The request "
        "reaches it through Redis, so --url may be any node. Waits until it has stopped. Exit "
        "status: 0 drained, 1 not drained in time or no node answers, 2 no such node.",
    )
    parser.add_argument(
        "node", metavar="NODE", help="the node's id or address, as `mallard watch` shows them"
    )
    parser.add_argument(
        "--within-s",
        type=number(float, 1, _MOST_S),
        default=_WITHIN_S,
        metavar="S",
        help=f"how long to wait for it, in seconds (default: {_WITHIN_S})",
    )
    parser.add_argument("--force", action="store_true", help="drain it even if it is the only node")
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Drain the node; the parser's description lists the exit statuses."""

    def calls(url: str, token: str) -> int:
        drain = _Drain(url, token, args.node, args.within_s, force=args.force)
        return asyncio.run(drain.run())

    return call_engine(args, calls)


@dataclass(frozen=True, slots=True)
class _Drain:
    """One run of the command."""

    url: str
    token: str
    wanted: str
    within_s: float
    force: bool

    async def run(self) -> int:
        """Find the node, ask it, and wait."""
        async with OperatorClient(self.url, self.token, **PATIENCE) as engine:
            nodes = await engine.nodes()
            node = _found(nodes, self.wanted)
            others = [it for it in nodes if it.state == NodeState.SERVING and it.id != node.id]
            if not others and not self.force:
                raise ConfigError(
                    f"{_named(node)} is the only node that serves: --force drains it all the same"
                )
            began_s = time.monotonic()
            await engine.drain(node.id)
        print(f"{_named(node)} drains: {_drivers(node)}", flush=True)
        # The other nodes still answer when this one has stopped.
        servers = [it.address for it in others if it.address] + [self.url]
        return await self._wait(node, list(dict.fromkeys(servers)), began_s)

    async def _wait(self, node: NodeView, servers: Sequence[str], began_s: float) -> int:
        async with OperatorClient(servers, self.token, tries=len(servers), within_s=5.0) as engine:
            lost_by: CallFailed | None = None
            while (spent_s := time.monotonic() - began_s) < self.within_s:
                await asyncio.sleep(_ASK_S)
                try:
                    seen = {it.id: it for it in await engine.nodes()}
                except CallFailed as failure:
                    if isinstance(failure, ApiProblem) and failure.code and failure.status < 500:
                        raise
                    if len(servers) == 1 and isinstance(failure, Unreachable):
                        took = duration(spent_s)
                        print(f"{_named(node)} no longer answers, after {took}: it has stopped")
                        return 0
                    lost_by = failure
                    continue
                lost_by = None
                node = seen.get(node.id, node)
                if node.state not in _ALIVE:
                    return _ended(node, spent_s)
        if lost_by is not None:
            print(f"mallard: no other node says whether it has stopped: {lost_by}", file=sys.stderr)
            return 1
        why = "draining" if node.state == NodeState.DRAINING else "serving"
        print(
            f"mallard: {_named(node)} is still {why} after {duration(self.within_s)}: "
            f"{_drivers(node)}",
            file=sys.stderr,
        )
        return 1


def _ended(node: NodeView, spent_s: float) -> int:
    took = duration(spent_s)
    if node.state == NodeState.LOST:
        print(
            f"mallard: {_named(node)} was lost while it drained, after {took}: {_drivers(node)} "
            "when it was last heard of; they reconnect by themselves",
            file=sys.stderr,
        )
        return 1
    left = f"; {_drivers(node)} left at its end, which reconnect by themselves"
    print(f"{_named(node)} is drained, after {took}{left if node.drivers else ''}")
    return 0


def _found(nodes: Sequence[NodeView], wanted: str) -> NodeView:
    """Return the living node with this id or address. Raises `ConfigError`."""
    place = _place(wanted)
    alive = [it for it in nodes if it.state in _ALIVE]
    found = [it for it in alive if it.id == wanted or (place and _place(it.address) == place)]
    if len(found) == 1:
        return found[0]
    what = "several nodes have the address" if found else "there is no node"
    known = ", ".join(f"{it.id} ({it.address})" for it in found or alive)
    raise ConfigError(f"{what} {quoted(wanted)}: there are {known}")


def _place(address: str) -> str | None:
    """Return host and port of an address, with or without a scheme; None if it is none."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return f"{parts.hostname}:{parts.port}" if parts.hostname and parts.port else None
    except ValueError:
        return None


def _named(node: NodeView) -> str:
    return f"{node.id} ({node.address})" if node.address else node.id


def _drivers(node: NodeView) -> str:
    return f"{node.drivers} driver{'' if node.drivers == 1 else 's'} connected"
