"""Findings about a Redis's version, role, eviction and persistence."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event

import pytest
import redis

from mallard_engine.cli.commands import serve
from mallard_engine.config.settings import ConfigError, load_settings
from mallard_engine.core.places.markets import Places
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.fitness import Facts, Finding, inspect_url, judge
from tests.engine.gateway.conftest import NodeFactory
from tests.support import eventually

GOOD = {"redis_version": "7.0.15", "redis_mode": "standalone", "role": "master",
        "cluster_enabled": "0", "maxmemory": "0", "maxmemory_policy": "noeviction",
        "aof_enabled": "1"}  # fmt: skip
CONFIG = {"save": "", "appendfsync": "everysec"}
ALONE = {"cluster_known_nodes": "1", "cluster_state": "ok"}


@pytest.mark.finding("B9")
@pytest.mark.parametrize(
    ("info", "config", "cluster", "refused", "says"),
    [
        ({"redis_version": "6.2.14"}, {}, None, True, "Redis 6.2.14 is too old: 7.0 or later"),
        ({"redis_version": "2.8.24"}, {}, None, True, "too old"),
        ({"redis_version": ""}, {}, None, False, "version is unknown"),
        ({"role": "slave", "master_host": "db1", "master_port": "6379"}, {}, None, True,
         "it is a replica, which takes no writes: name its master, db1:6379"),
        ({"redis_mode": "sentinel"}, {}, None, True, "Sentinel"),
        ({"cluster_enabled": "1"}, {}, {"cluster_known_nodes": "6"}, True, "redis+cluster://"),
        ({"cluster_enabled": "1"}, {}, None, True, "redis+cluster://"),
        ({"cluster_enabled": "1"}, {}, ALONE, False, "it is of a Redis Cluster"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": "1000"}, {}, None, True,
         "maxmemory-policy is allkeys-lru: set noeviction, as it evicts jobs"),
        ({"maxmemory_policy": "allkeys-lru"}, {}, None, False, "before a maxmemory is set"),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": "9"}, {}, None, False, "idempotency"),
        ({"aof_enabled": "0"}, {}, None, False, "keeps nothing on disk"),
        ({"aof_enabled": "0"}, {"save": "3600 1"}, None, False, "since the last snapshot"),
        ({"aof_enabled": "0"}, None, None, False, "snapshots is unknown"),
        ({}, {"appendfsync": "no"}, None, False, "appendfsync is no"),
    ],
)  # fmt: skip
def test_each_finding_is_one_line(
    info: Mapping[str, str],
    config: Mapping[str, str] | None,
    cluster: Mapping[str, str] | None,
    refused: bool,
    says: str,
) -> None:
    facts = Facts({**GOOD, **info}, None if config is None else {**CONFIG, **config}, cluster)
    (finding,) = judge(facts)
    assert finding.refuse == refused
    assert says in finding.text
    assert "\n" not in finding.text


@pytest.mark.finding("B9")
def test_fit_and_embedded_stores_have_no_findings() -> None:
    assert judge(Facts(GOOD, CONFIG)) == ()
    assert judge(Facts(GOOD, None)) == ()
    assert judge(Facts({**GOOD, "aof_enabled": "0"}, None), embedded=True) == ()


@pytest.mark.finding("B9")
def test_forbidden_queries_count_as_unknown() -> None:
    (finding,) = judge(Facts(None, None))
    assert finding == Finding(
        "version, role, eviction and persistence are unknown: INFO is forbidden"
    )


@pytest.fixture
def server(redis_binary: Path | None) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(persistent=False, tcp=True, binary=redis_binary) as server:
        yield server


@pytest.mark.finding("B9")
async def test_real_store_is_checked(server: EmbeddedServer) -> None:
    assert [finding.text.partition(":")[0] for finding in await inspect_url(server.url)] == [
        "it keeps nothing on disk"
    ]
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert (await inspect_url(server.url))[0].refuse
        client.execute_command(
            "ACL", "SETUSER", "engine", "on", ">pw", "~*", "+@all", "-info", "-config", "-role"
        )
    restricted = server.url.replace("redis://", "redis://engine:pw@")
    assert [finding.text for finding in await inspect_url(restricted)] == [
        "version, role, eviction and persistence are unknown: INFO is forbidden"
    ]


@pytest.mark.finding("B9")
async def test_loading_store_is_awaited(tmp_path: Path, redis_binary: Path | None) -> None:
    options = {"enable-debug-command": "yes", "loading-process-events-interval-bytes": "1024"}
    with EmbeddedServer(tmp_path, binary=redis_binary, tcp=True, options=options) as server:
        with redis.Redis.from_url(server.url) as client:
            client.mset({f"k{n}": "v" for n in range(2_000)})
            client.config_set("key-load-delay", 1_000)
            loading = asyncio.create_task(asyncio.to_thread(reload, server.url))
            await eventually(lambda: is_loading(server.url))
        heard: list[bool] = []
        await inspect_url(server.url, loading_within_s=30, on_loading=lambda: heard.append(True))
        await loading
        assert heard == [True]


def reload(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.execute_command("DEBUG", "RELOAD")


def is_loading(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.info("persistence")["loading"])


@pytest.mark.finding("B9")
def test_serve_refuses_an_unfit_store_in_one_line(
    server: EmbeddedServer,
    tmp_path: Path,
    places: Places,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refusal(url: str) -> str:
        settings = load_settings({"data": str(tmp_path), "redis_url": url}, {})
        assert serve._serve_on(settings, places, url, lambda: (settings, places), Event()) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "maxmemory-policy is allkeys-lru" in refusal(server.url)
        client.config_set("maxmemory-policy", "noeviction")
        client.replicaof("127.0.0.1", 1)
        assert "it is a replica" in refusal(server.url)
        client.replicaof("NO", "ONE")
        client.config_set("requirepass", "secret")
    assert "NOAUTH" in refusal(server.url)


@pytest.mark.finding("B9")
def test_serve_refuses_a_cluster_in_one_line(
    tmp_path: Path, places: Places, capsys: pytest.CaptureFixture[str], redis_binary: Path | None
) -> None:
    with EmbeddedServer(persistent=False, cluster_mode=True, binary=redis_binary) as other:
        with redis.Redis.from_url(other.url) as client:
            client.execute_command("CLUSTER FLUSHSLOTS")
        settings = load_settings({"data": str(tmp_path), "redis_url": other.url}, {})
        assert (
            serve._serve_on(settings, places, other.url, lambda: (settings, places), Event()) == 1
        )
    (line,) = capsys.readouterr().err.splitlines()
    assert "it is of a Redis Cluster: name it with redis+cluster://" in line


@pytest.mark.finding("B9")
@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:26379,b:26379",
        "redis+sentinel://a:26379,b:26379/one/two",
        "redis+sentinel://a:26379/one?sentinel_name=x",
        "redis+sentinel://a:port/one",
        "redis+sentinel:///one",
        "redis+cluster://a:6379,b:6379/1",
        "redis+cluster://a:6379?db=1",
        "redis+cluster://a:6379,,b",
        "redis+cluster://a:99999",
        "redis+magic://a:6379",
        "unix+cluster:///a",
        "redis://a:6379,b:6379/0",
        "http://a:6379",
    ],
)
def test_serve_refuses_an_unsupported_store(url: str, tmp_path: Path, places: Places) -> None:
    settings = load_settings({"data": str(tmp_path), "redis_url": url}, {})
    with pytest.raises(ConfigError, match=r"^redis_url: "):
        serve._serve_on(settings, places, url, lambda: (settings, places), Event())


@pytest.mark.finding("B9")
async def test_readyz_lists_what_to_fix(server: EmbeddedServer, engine_node: NodeFactory) -> None:
    node = await engine_node(redis_url=server.url)
    answer = await node.http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    (warning,) = answer.json()["warnings"]
    assert "keeps nothing on disk" in warning


async def test_missing_store_cannot_be_checked() -> None:
    with pytest.raises(StoreUnavailable):
        await inspect_url("redis://127.0.0.1:1/0")
