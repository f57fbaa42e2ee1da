"""The port `Policies` on Redis."""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from mallard_engine.core.policy.override import PolicyOverride
from mallard_engine.ports import Effects, StoreFull
from mallard_engine.ports.control.policies import Policies, StaleVersion
from mallard_engine.storage.calls.script_runner import ScriptRunner

# Versions of a market's policy that are kept.
_MOST_VERSIONS = 1_000
_ANY = -1


class _Record(msgspec.Struct):
    preset: str
    set: str
    actor: str
    at: float


_record = msgspec.msgpack.Decoder(_Record, strict=False).decode


class RedisPolicies(Policies):
    """Policies on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def current(self, market: str, known: int = -1) -> PolicyOverride | None:
        key, call = self._runner.keys[market].key("policy"), self._runner.link.call
        version = int(await call("HGET", key, "version") or 0)
        if version == known:
            return None
        packed = await call("HGET", key, str(version)) if version else None
        return _override(version, packed) if packed else PolicyOverride(version)

    async def put(
        self, market: str, override: PolicyOverride, expected: int | None
    ) -> tuple[PolicyOverride, Effects]:
        keys = self._runner.keys[market]
        args = {
            "expected": _ANY if expected is None else expected,
            "preset": override.preset,
            "actor": override.actor,
            "most": _MOST_VERSIONS,
        }
        values = msgspec.json.encode(dict(sorted(override.set.items())))
        extra = [keys.key("policy")]
        reply = await self._runner.transition("put_policy", keys, extra, args, [values])
        if reply.verdict == "stale":
            raise StaleVersion(reply.rest[0])
        await self._runner.announce_changed(market)
        return _override(reply.rest[0], reply.rest[1]), reply.effects

    async def note_applied(self, market: str, node: str, version: int) -> None:
        key = self._runner.keys[market].key("policy_nodes")
        # A full server does not store it: the policy is used, and this node counts as behind.
        with contextlib.suppress(StoreFull):
            await self._runner.link.call("HSET", key, node, version)

    async def behind(self, market: str, version: int) -> Sequence[str]:
        keys, call = self._runner.keys[market], self._runner.link.call
        group = self._runner.group_of(market)
        leases, peers, flat = await asyncio.gather(
            call("ZRANGE", keys.key("nodes"), 0, -1, "WITHSCORES"),
            call("ZRANGE", self._runner.keys[group[0]].key("peers"), 0, -1, "WITHSCORES"),
            call("HGETALL", keys.key("policy_nodes")),
        )
        now_ms = self._runner.now_ms()
        applied = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
        # Both are read: a node without drivers there has no lease, and one of an older version is
        # not among the peers.
        until = [
            *zip(leases[::2], map(float, leases[1::2]), strict=True),
            *zip(map(_name_of, peers[::2]), map(float, peers[1::2]), strict=True),
        ]
        live = {node for node, until_ms in until if until_ms > now_ms}
        if gone := applied.keys() - {node for node, _ in until}:
            await call("HDEL", keys.key("policy_nodes"), *gone)
        return [node.decode() for node in live if applied.get(node, 0) < version]


def _override(version: int, packed: bytes) -> PolicyOverride:
    record = _record(packed)
    return PolicyOverride(
        version=version,
        preset=record.preset,
        set=msgspec.json.decode(record.set),
        actor=record.actor,
        at_ms=int(record.at),
    )


def _name_of(peer: bytes) -> bytes:
    return peer.partition(b"/")[2]
