"""The port `Leases` on Redis: heartbeats, and the drivers of nodes that have died."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

from mallard_engine.ports import Beat, Effects, Leases, Peers, Standing, StoreUnavailable
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.keys import MarketKeys
from mallard_protocol.events import EVENTS_KEPT_MS

LEASE_MS = 1_500
# How long other nodes stay awake for a node with drivers: longer than it takes to notice its death.
_BUSY_MS = 10_000
# Changes with the rules by which nodes share markets. Up to release 0.4.0 there was none, and nodes
# at rest shared the markets as well: one of them does not maintain all.
_RULES = "2"
# While all nodes are at rest, those that have gone are removed this often.
_PRUNE_MS = 60_000
# A presence that ends this much too early or too late changes nothing.
_CLOCK_ERROR_MS = 50
# Stands for a time of loss: the market is on another server.
_UNSURE = -1


class RedisLeases(Leases):
    """Leases on Redis. ``lease_ms``: how long a heartbeat keeps a node alive."""

    def __init__(self, runner: ScriptRunner, lease_ms: int = LEASE_MS) -> None:
        self._runner = runner
        self._lease_ms = lease_ms
        # Shorter than a lease: another node has its share before the leases of its drivers end.
        self._presence_ms = lease_ms * 2 // 3
        # By the first market of a server: what operators have changed, as of the last answer.
        self._versions: dict[str, int] = {}
        # By the first market of a server: when a script last found that no node was busy.
        self._rested_ms: dict[str, int] = {}
        # By market: when writes were last found lost, as the last heartbeat reported it.
        self._lost_ms: dict[str, int] = {}
        # By market: the connection of the last heartbeat.
        self._links: dict[str, Link | None] = {}

    def by_server(self, markets: Iterable[str]) -> Sequence[tuple[str, ...]]:
        return self._runner.by_server(markets)

    async def meet(
        self, markets: tuple[str, ...], node: str, *, works: bool = True, leaves: bool = False
    ) -> Peers:
        keys, group = self._runner.keys[markets[0]], _group(markets)
        member, names = f"{group}/{node}", [keys.key("peers"), keys.key("changed")]
        if not works and not leaves:
            peers = await self._meet_again(markets[0], member, names)
            if peers is not None:
                return peers
        args = {
            "member": member,
            "lease_ms": self._presence_ms,
            "calm_ms": self._lease_ms,
            "version": self._versions.get(markets[0], -1),
            **({"busy_ms": _BUSY_MS} if works and not leaves else {}),
            **({"leave": True} if leaves else {}),
        }
        now, members, version, flat, is_busy = await self._runner.run("meet", names, args)
        self._runner.set_clock(now)
        self._versions[markets[0]] = version
        self._rested_ms[markets[0]] = 0 if is_busy else now
        pairs = zip(flat[::2], flat[1::2], strict=True)
        changed = {
            market.decode(): int(count) for market, count in pairs if not market.startswith(b"/")
        }
        return Peers(now, _names(members, group), changed, is_busy=bool(is_busy))

    async def _meet_again(self, market: str, member: str, names: Sequence[str]) -> Peers | None:
        """Do what `meet.lua` does at rest: for an idle Redis that is cheaper than a script.

        If this returns None, the script must run: a node is busy, operators have changed something,
        Redis refuses writes or did so last, or its clock is not what this node believed. Once a
        minute the script runs as well, to remove nodes that are gone.
        """
        runner = self._runner
        link, believed_ms = runner.link.link_of(names[0]), runner.now_ms()
        is_recent = 0 <= believed_ms - self._rested_ms.get(market, 0) < _PRUNE_MS
        if not is_recent or link is None or runner.is_virtual or runner.health.problems:
            return None
        try:
            time, (busy_ms, version), _, members = await link.call_all(
                ("TIME",),
                ("HMGET", names[1], "/busy", "/"),
                ("ZADD", names[0], believed_ms + self._lease_ms, member),
                ("ZRANGE", names[0], f"({believed_ms}", "+inf", "BYSCORE"),
            )
        except LinkReplyError:
            return None
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        is_believed = abs(now_ms - believed_ms) <= _CLOCK_ERROR_MS
        runner.set_clock(now_ms)
        is_same = int(version or 0) == self._versions[market]
        if not is_believed or not is_same or int(busy_ms or 0) > now_ms:
            return None
        return Peers(now_ms, _names(members, member.partition("/")[0]), {}, is_busy=False)

    async def dead(self, market: str) -> Sequence[str]:
        key, now_ms = self._runner.keys[market].key("nodes"), self._runner.now_ms()
        names = await self._runner.link.call("ZRANGE", key, "-inf", now_ms, "BYSCORE")
        return [name.decode() for name in names]

    async def beat(self, market: str, node: str) -> Beat:
        names = ("nodes", "leases", "events", "lineage")
        known_ms = self._lost_ms.get(market, 0)
        args = {
            "node": node,
            "lease_ms": self._lease_ms,
            "kept_ms": EVENTS_KEPT_MS,
            "lost": known_ms,
            "last_event": self._runner.last_events.get(market),
        }
        keys = list(map(self._runner.keys[market].key, names))
        now, since_ms, lost_ms, dead = await self._runner.run("beat", keys, args)
        link = self._runner.link.link_of(keys[0])
        if lost_ms == _UNSURE:
            args["moved"] = await self._has_moved(market, link)
            now, since_ms, lost_ms, dead = await self._runner.run("beat", keys, args)
        self._runner.set_clock(now)
        self._links[market] = link
        if lost_ms != known_ms:
            self._lost_ms[market] = lost_ms
            self._runner.last_events.pop(market, None)
        standing = Standing(since_ms, lost_ms, self._runner.opening(market))
        return Beat(now, standing, tuple(name.decode() for name in dead))

    async def _has_moved(self, market: str, link: Link | None) -> bool:
        """Return whether the market has moved to another server of a cluster, and lost nothing.

        After a failover the server before is dead or has become a replica. One that was cut off may
        still believe that it is a primary; then `last_event` decides.
        """
        before = self._links.get(market)
        if before is None or before is link or not before.connected:
            return False
        try:
            role = await before.call("ROLE")
        except (StoreUnavailable, LinkReplyError):
            return False
        return bool(role[0] == b"master")

    async def reap(self, market: str, node: str, limit: int) -> tuple[int, Effects]:
        keys = self._runner.keys[market]
        drivers = await self._runner.link.call("SRANDMEMBER", keys.held(node), limit)
        if not drivers:
            await self._leave(keys, node, dead=True)
            return 0, Effects()
        args = {"node": node, "closed": [(driver.decode(), 0) for driver in drivers]}
        reply = await self._runner.transition("disconnect", keys, [keys.held(node)], args)
        return 0 if reply.verdict == "alive" else len(drivers), reply.effects

    async def leave(self, market: str, node: str) -> bool:
        return await self._leave(self._runner.keys[market], node)

    async def hold_role(self, market: str, role: str, node: str, ttl_ms: int) -> bool:
        key = self._runner.keys[market].role(role)
        args = {"node": node, "ttl_ms": ttl_ms}
        return bool(await self._runner.run("hold_role", [key], args))

    async def _leave(self, keys: MarketKeys, node: str, **dead: bool) -> bool:
        names = [keys.key("nodes"), keys.held(node), keys.key("leases"), keys.pushes(node)]
        return bool(await self._runner.run("leave", names, {"node": node, **dead}))


def _names(members: Iterable[bytes], group: str) -> tuple[str, ...]:
    """Return the nodes of a group, sorted."""
    found = (member.decode().partition("/") for member in members)
    return tuple(sorted(name for its_group, _, name in found if its_group == group))


@lru_cache(maxsize=64)
def _group(markets: tuple[str, ...]) -> str:
    """Return the name of the nodes that serve exactly these markets of a server.

    Nodes of another configuration, or that see the markets on other servers, share no work with
    them: each group does all of its own. So do nodes of other rules.
    """
    return blake2b("/".join((_RULES, *markets)).encode(), digest_size=6).hexdigest()
