"""Checks whether a Redis server is fit for use: version, role, eviction and persistence.

`mallard serve` (before it listens), `mallard check` and `/readyz` share this check. What a
restricted user may not read is reported as unknown; everything else is checked.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import Store, StoreLink
from mallard_engine.storage.client.sentinel import SentinelWay
from mallard_engine.storage.schema import KEY as SCHEMA_KEY
from mallard_engine.storage.schema import Schema, WrongSchema, read_mark, refusal

Call = Callable[..., Awaitable[Any]]

_OLDEST: Final = (7, 0)
_LOADING_POLL_S: Final = 0.25
_CONFIG: Final = (
    *("save", "appendfsync", "cluster-require-full-coverage", "min-replicas-to-write"),
)
# A Sentinel pings a new master only after this.
_PING_PERIOD_MS: Final = 1_000
_OLDEST_WITH_WAITAOF: Final = (7, 2)
_NO_FSYNC: Final = (
    "appendfsync is no: a power cut may lose the last half minute; set everysec or always"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding about a server: an error that forbids its use (`refuse`), or a warning."""

    text: str
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server reports; a field is None if the user may not read it.

    Attributes:
        info: The fields of INFO.
        config: Some fields of CONFIG.
        cluster: The fields of CLUSTER INFO, if the server is in cluster mode.
        schema: The schema versions that wrote to it.
        by_cluster: The URL names a cluster.
        demands: How durable some market wants its writes to be: `replica`, `disk`.
    """

    info: Mapping[str, str] | None
    config: Mapping[str, str] | None = None
    cluster: Mapping[str, str] | None = None
    schema: Schema | None = None
    by_cluster: bool = False
    demands: Collection[str] = ()


def judge(facts: Facts, *, embedded: bool = False) -> tuple[Finding, ...]:
    """Return the findings, the worst first. `embedded`: this process runs the server."""
    found = [Finding(why, refuse=True)] if (why := refusal(facts.schema)) else []
    if facts.info is None:
        unknown = "version, role, eviction and persistence are unknown: INFO is forbidden"
        return (*found, Finding(unknown))
    found += [*_server(facts.info, facts), *_eviction(facts.info)]
    if not embedded:
        found += _persistence(facts.info, facts.config)
    found += _durability(facts.info, facts)
    return _sorted(found)


def _sorted(found: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(found, key=lambda finding: not finding.refuse))


def _server(info: Mapping[str, str], facts: Facts) -> Iterator[Finding]:
    version = info.get("redis_version", "")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not numbers:
        yield Finding("its version is unknown: Redis 7.0 or later, or Valkey, is needed")
    elif numbers < _OLDEST:
        yield Finding(f"Redis {version} is too old: 7.0 or later, or Valkey, is needed", True)
    if info.get("redis_mode") == "sentinel":
        yield Finding("it is a Sentinel: name the Redis that it watches", True)
    if info.get("role", "master") != "master":
        master = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        yield Finding(f"it is a replica, which takes no writes: name its master, {master}", True)
    if info.get("cluster_enabled") == "1":
        yield from _cluster(facts)


def _cluster(facts: Facts) -> Iterator[Finding]:
    cluster = facts.cluster or {}
    is_alone = cluster.get("cluster_known_nodes") == "1"
    if not facts.by_cluster:
        is_usable = is_alone and cluster.get("cluster_state") == "ok"
        yield Finding("it is of a Redis Cluster: name it with redis+cluster://", not is_usable)
    elif not is_alone and (facts.config or {}).get("cluster-require-full-coverage") == "yes":
        yield Finding(
            "cluster-require-full-coverage is yes: set no, or the loss of one primary stops the "
            "markets of all"
        )


def _eviction(info: Mapping[str, str]) -> Iterator[Finding]:
    policy, limit = info.get("maxmemory_policy", "noeviction"), info.get("maxmemory", "0")
    if policy == "noeviction":
        return
    advice = f"maxmemory-policy is {policy}: set noeviction"
    if limit == "0":
        yield Finding(f"{advice} before a maxmemory is set, or jobs will be evicted")
    elif policy.startswith("allkeys"):
        yield Finding(f"{advice}, as it evicts jobs when memory is short", True)
    else:
        yield Finding(f"{advice}, as it evicts idempotency keys when memory is short")


def _persistence(info: Mapping[str, str], config: Mapping[str, str] | None) -> Iterator[Finding]:
    if info.get("aof_enabled") == "1":
        if config is not None and config.get("appendfsync") == "no":
            yield Finding(_NO_FSYNC)
    elif config is None:
        yield Finding("appendonly is off, and whether it saves snapshots is unknown")
    elif config.get("save"):
        yield Finding("appendonly is off: a crash loses every job since the last snapshot")
    else:
        yield Finding("it keeps nothing on disk: a restart loses every job; set appendonly yes")


def _durability(info: Mapping[str, str], facts: Facts) -> Iterator[Finding]:
    if "replica" in facts.demands:
        replicas = info.get("connected_slaves", "0")
        if replicas == "0":
            yield Finding("durability is replica, and no replica is connected: writes are refused")
        elif replicas == "1":
            yield Finding(
                "durability is replica, and one replica is connected: run two, or the loss of a "
                "server stops confirmations"
            )
        if (facts.config or {}).get("min-replicas-to-write") == "0":
            yield Finding(
                "min-replicas-to-write is 0: set 1, or a master that was cut off takes writes that "
                "the failover forgets"
            )
    if "disk" in facts.demands:
        numbers = tuple(map(int, re.findall(r"\d+", info.get("redis_version", ""))[:2]))
        if numbers and numbers < _OLDEST_WITH_WAITAOF:
            yield Finding("durability is disk, which needs Redis 7.2 or Valkey (WAITAOF)", True)
        if info.get("aof_enabled") != "1":
            yield Finding("durability is disk, and appendonly is off: set appendonly yes", True)
        elif (facts.config or {}).get("appendfsync") == "no":
            yield Finding("durability is disk, and appendfsync is no: set always", True)


def _sentinels(address: object) -> Iterator[Finding]:
    after_ms = address.down_after_ms if isinstance(address, SentinelWay) else None
    if after_ms is not None and after_ms <= _PING_PERIOD_MS:
        yield Finding(
            f"down-after-milliseconds is {after_ms}: set 2000, or Sentinels replace each new "
            "master before they have reached it"
        )


async def inspect(
    link: StoreLink, *, embedded: bool = False, demands: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Read the facts of the servers and check them. Those of a cluster that are away are left out.

    Raises:
        StoreUnavailable: No server can be reached.
    """
    servers = [each for each in link.primaries() if each.connected] or link.primaries()
    found = list(_sentinels(link.address))
    for server in servers:
        facts = await _facts(server.call)
        facts = replace(facts, by_cluster=isinstance(link, ClusterLink), demands=demands)
        name = f"{server.address}: " if len(servers) > 1 else ""
        found += [Finding(f"{name}{it.text}", it.refuse) for it in judge(facts, embedded=embedded)]
    if any(finding.refuse for finding in found):  # its keys may be unreadable
        return _sorted(found)
    try:
        mark = read_mark(await _if_permitted(link.call("HGETALL", SCHEMA_KEY)))
    except WrongSchema:
        raise
    except StoreUnavailable:
        if not any(server.connected for server in servers):
            raise
        return _sorted(found)  # of a cluster's server that is away: a node reads a copy of it
    if why := refusal(mark):
        found.append(Finding(why, refuse=True))
    return _sorted(found)


async def _facts(call: Call) -> Facts:
    told, config = await asyncio.gather(_if_permitted(call("INFO")), _config(call))
    info = _fields(told)
    cluster = None
    if info is not None and info.get("cluster_enabled") == "1":
        cluster = _fields(await _if_permitted(call("CLUSTER", "INFO")))
    return Facts(info, config, cluster)


async def inspect_url(
    url: str,
    *,
    embedded: bool = False,
    demands: Collection[str] = (),
    loading_within_s: float = 0.0,
    on_loading: Callable[[], None] | None = None,
) -> tuple[Finding, ...]:
    """Connect to a server and check it; wait up to `loading_within_s` while it loads its data.

    Raises:
        StoreUnavailable: The server cannot be reached.
        LinkReplyError: The server refused a command.
        ValueError: The URL is invalid.
    """
    deadline = asyncio.get_running_loop().time() + loading_within_s
    while True:
        link = Store(url).link()
        try:
            await link.connect()
            return await inspect(link, embedded=embedded, demands=demands)
        except LinkReplyError as error:
            if error.code != "LOADING" or asyncio.get_running_loop().time() >= deadline:
                raise
            if on_loading is not None:
                on_loading()
                on_loading = None
        finally:
            await link.close()
        await asyncio.sleep(_LOADING_POLL_S)


async def _config(call: Call) -> Mapping[str, str] | None:
    flat = await _if_permitted(call("CONFIG", "GET", *_CONFIG))
    if flat is None:
        return None
    texts = [item.decode(errors="replace") for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def _if_permitted(reply: Awaitable[Any]) -> Any:
    """Return a reply; None if the user may not run the command or the server does not have it."""
    try:
        return await reply
    except LinkReplyError as error:
        if isinstance(error, StoreUnavailable) and error.code != "NOPERM":
            raise
        return None


def _fields(reply: Any) -> Mapping[str, str] | None:
    if reply is None:
        return None
    lines = reply.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {name: value.strip() for name, colon, value in pairs if colon}
