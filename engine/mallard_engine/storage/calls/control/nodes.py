"""The port `Nodes` on Redis: one hash for all nodes and markets."""

import asyncio

import msgspec

from mallard_engine.ports import DrainRequest, KnownNode, NodeReport, Nodes, NoSuchNode
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.errors import StoreOutOfMemory

KEY = "mallard:nodes"
# A node announces itself once a second, and what has not changed every other second.
LOST_MS = 5_000
_KEPT_MS = 600_000
# A look at all nodes: too dear for every report of each of them.
_PRUNE_MS = 60_000

_encode = msgspec.msgpack.encode
_report = msgspec.msgpack.Decoder(NodeReport).decode


class RedisNodes(Nodes):
    """Nodes on Redis. Every other announcement that says the same only reads the wish to drain."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        self._pruned_ms = 0
        # The last report that was written, and whether the call before wrote it.
        self._written: NodeReport | None = None
        self._has_just_written = False

    async def announce(
        self, report: NodeReport, *, has_stopped: bool = False
    ) -> DrainRequest | None:
        is_known = report == self._written and not has_stopped
        if is_known and self._has_just_written:
            self._has_just_written = False
            return _request(await self._runner.link.call("HGET", KEY, f"{report.id}/drain"))
        now_ms = self._runner.now_ms()
        prunes = now_ms - self._pruned_ms >= _PRUNE_MS
        if is_known and not prunes:
            try:
                request = await self._repeat(report, now_ms)
            except StoreOutOfMemory:
                pass  # the script may run nevertheless
            else:
                self._has_just_written = True
                return request
        self._pruned_ms = now_ms if prunes else self._pruned_ms
        args = {"node": report.id, "stopped": has_stopped, "kept_ms": _KEPT_MS, "prune": prunes}
        by, at_ms = await self._runner.run("announce", [KEY], args, [_encode(report)])
        self._written, self._has_just_written = report, True
        return DrainRequest(by.decode(), at_ms) if by else None

    async def _repeat(self, report: NodeReport, now_ms: int) -> DrainRequest | None:
        """Write what the script wrote before: for an idle Redis that is cheaper than a script."""
        call = self._runner.link.call
        _, wish = await asyncio.gather(
            call("HSET", KEY, report.id, _encode(report), f"{report.id}/seen", now_ms),
            call("HGET", KEY, f"{report.id}/drain"),
        )
        return _request(wish)

    async def all(self) -> list[KnownNode]:
        now_ms = self._runner.now_ms()
        flat = await self._runner.link.call("HGETALL", KEY)
        fields = dict(zip(map(bytes.decode, flat[::2]), flat[1::2], strict=True))
        found = [_known(name, fields, now_ms) for name in fields if "/" not in name]
        return sorted(found, key=lambda it: (it.report.started_ms, it.report.id))

    async def ask_drain(self, node: str, actor: str) -> DrainRequest:
        args = {"node": node, "actor": actor, "lost_ms": LOST_MS}
        by, at_ms = await self._runner.run("ask_drain", [KEY], args)
        if not by:
            raise NoSuchNode(node)
        return DrainRequest(by.decode(), at_ms)


def _known(node: str, fields: dict[str, bytes], now_ms: int) -> KnownNode:
    seen_ms = int(fields.get(f"{node}/seen", b"0"))
    has_stopped = f"{node}/stopped" in fields
    return KnownNode(
        report=_report(fields[node]),
        seen_ms=seen_ms,
        has_stopped=has_stopped,
        is_lost=not has_stopped and now_ms - seen_ms > LOST_MS,
        drain=_request(fields.get(f"{node}/drain")),
    )


def _request(stored: bytes | None) -> DrainRequest | None:
    if stored is None:
        return None
    at_ms, _, actor = stored.decode().partition("/")
    return DrainRequest(actor, int(at_ms))
