"""Runs groups of Redis servers on loopback: one master with Sentinels, or a cluster.

For tests and load tests: short periods, so that a failover takes a second or two.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from mallard_engine.storage.embedded.server import (
    EmbeddedServer,
    bundled_binary,
    end_with_parent,
    free_port,
)

SERVICE: Final = "mallard"
# After a server has been away for this long, Sentinels and a cluster let another one take over.
DOWN_AFTER_MS: Final = 1_200
_POLL_S: Final = 0.02
_WITHIN_S: Final = 60.0
_SENTINELS: Final = 3
_PRIMARIES: Final = 3
# The markets that ship with the engine are in different thirds.
_FIRST_SLOTS: Final = (0, 1_000, 10_000, 16_384)
# In ms, instead of up to 10 s.
_SENTINEL_PERIODS: Final = (
    *("info-period", 500, "publish-period", 500, "ask-period", 250),
    # For this long a Sentinel does nothing after it stood still for two seconds.
    *("tilt-period", 2_000),
)
# A Sentinel pings a new master only after a second, or after this. If it has not answered when
# servers count as dead, it is replaced at once.
_PING_PERIOD: Final = ("ping-period", 200)
_SAFE_DOWN_AFTER_MS: Final = 2_000
_SERVER_OPTIONS: Final = {"repl-diskless-sync-delay": "0", "repl-timeout": "5"}


class _Group:
    """Servers that are started together, in the main thread."""

    def __init__(
        self,
        *,
        binary: Path | None = None,
        persistent: bool = False,
        options: Mapping[str, str] | None = None,
        down_after_ms: int = DOWN_AFTER_MS,
    ) -> None:
        self._down_after_ms = down_after_ms
        self._binary = binary or bundled_binary()
        self._persistent = persistent
        self._options = _SERVER_OPTIONS | dict(options or {})
        self._stack = ExitStack()
        self.servers: list[EmbeddedServer] = []
        self._logs: list[Path] = []
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start the servers. Raises `EmbeddedServerError` or `TimeoutError`."""
        raise NotImplementedError

    def _start_server(self, options: Mapping[str, str]) -> EmbeddedServer:
        server = EmbeddedServer(
            tcp=True,
            persistent=self._persistent,
            binary=self._binary,
            options=self._options | dict(options),
        )
        self.servers.append(self._stack.enter_context(server))
        return server

    def live(self) -> Sequence[EmbeddedServer]:
        """Return the servers that run."""
        return [server for server in self.servers if server.running]

    def revive(self) -> None:
        """Start the servers that were killed again."""
        for server in self.servers:
            server.revive()

    def keep_logs(self, folder: Path) -> None:
        """Copy the logs of all processes, of restarted servers the last two."""
        for number, server in enumerate(self.servers):
            for log in server.folder.glob("server.log*"):
                shutil.copy(log, folder / f"{number}-{_port(server)}-{log.name}")
        for number, log in enumerate(self._logs):
            shutil.copy(log, folder / f"{number}-{log.name}")

    def client(self, server: EmbeddedServer) -> Any:
        """Return a client of one server, which is closed with the group."""
        if server.url in self._clients:
            return self._clients[server.url]
        client = redis.Redis.from_url(
            server.url, retry=Retry(NoBackoff(), 0), socket_timeout=5, decode_responses=True
        )
        self._clients[server.url] = client
        return self._stack.enter_context(client)


def ask(client: Any, *command: str | int) -> Any:
    """Run a command and return its reply as the server gave it."""
    return client.execute_command(*command)


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(_POLL_S)


class SentinelGroup(_Group):
    """A master, its replicas, and three Sentinels.

    Args:
        replicas: How many replicas.
        options: Further lines of each server's configuration.
        binary: Another server's binary.
        persistent: Whether the servers keep a log.
        down_after_ms: How long a server is silent before another one takes over.
    """

    def __init__(self, replicas: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self._replicas = replicas
        self._ports: list[int] = []
        # Clients of the Sentinels, by port.
        self._watchers: dict[int, Any] = {}

    @property
    def url(self) -> str:
        """The URL for the engine."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{it}' for it in self._ports)}/{SERVICE}"

    def start(self) -> None:
        """Start all, and wait until the Sentinels know each other and the replicas."""
        master = self._start_server({})
        port = _port(master)
        for _ in range(self._replicas):
            self._start_server({"replicaof": f"127.0.0.1 {port}"})
        self._ports = [self._start_sentinel(port) for _ in range(_SENTINELS)]
        clients = self.sentinels
        _until(lambda: all(map(_answers, clients)), "the Sentinels started")
        for client in clients:
            ask(client, "SENTINEL", "DEBUG", *_SENTINEL_PERIODS)
            if self._down_after_ms < _SAFE_DOWN_AFTER_MS:
                ask(client, "SENTINEL", "DEBUG", *_PING_PERIOD)
        _until(lambda: self._know_all(port), "the Sentinels found the servers")

    def _start_sentinel(self, master_port: int) -> int:
        port = free_port()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinel-")))
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"dir {folder}",
            "daemonize no",
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after_ms}",
            f"sentinel failover-timeout {SERVICE} 3000",
            f"sentinel parallel-syncs {SERVICE} 2",
        ]
        if password := self._options.get("requirepass"):
            lines.append(f"sentinel auth-pass {SERVICE} {password}")
        config = folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        self._logs.append(folder / "sentinel.log")
        log = self._stack.enter_context(self._logs[-1].open("wb"))
        process = subprocess.Popen(  # noqa: S603 - our own binary and configuration
            [self._binary, config, "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - started before any thread of ours
        )
        self._stack.callback(_stop, process)
        return port

    def _sentinel(self, port: int) -> Any:
        if port not in self._watchers:
            self._watchers[port] = self._open_sentinel(port)
        return self._watchers[port]

    def _open_sentinel(self, port: int) -> Any:
        return self._stack.enter_context(
            redis.Redis(port=port, retry=Retry(NoBackoff(), 0), decode_responses=True)
        )

    def _know_all(self, master_port: int) -> bool:
        return all(self._is_complete(sentinel, master_port) for sentinel in self.sentinels)

    def _is_complete(self, sentinel: Any, master_port: int) -> bool:
        """Return whether a Sentinel knows all others and has ended its own part of a failover.

        Until then it takes the former master for the master, and takes no part in the next
        failover.
        """
        try:
            state = sentinel.sentinel_master(SERVICE)
        except redis.RedisError:
            return False
        others = _SENTINELS - 1
        known: bool = state["num-other-sentinels"] == others and (
            (state["num-slaves"], state["port"]) == (self._replicas, master_port)
        )
        return known and all(
            replica["master-link-status"] == "ok" for replica in sentinel.sentinel_slaves(SERVICE)
        )

    def heal(self) -> None:
        """Start the servers that were killed again, and wait until the replicas are in step."""
        self.revive()
        master = self.master()
        for server in self.live():
            client = self.client(server)
            if server is not master and client.info("replication")["role"] == "master":
                # The Sentinels would do the same after some seconds.
                client.replicaof("127.0.0.1", _port(master))
        _until(lambda: self._know_all(_port(self.master())), "the Sentinels found the servers")

    def master(self) -> EmbeddedServer:
        """Return the master as of the last failover that a Sentinel knows."""
        known = []
        for sentinel in self.sentinels:
            with suppress(redis.ConnectionError, redis.TimeoutError):
                epoch = sentinel.sentinel_master(SERVICE)["config-epoch"]
                _, port = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
                known.append((epoch, int(port)))
        _, port = max(known)
        return next(server for server in self.servers if _port(server) == port)

    def flush(self) -> None:
        """Delete every key."""
        self.client(self.master()).flushall()

    @property
    def sentinels(self) -> Sequence[Any]:
        """Clients of the Sentinels."""
        return [self._sentinel(port) for port in self._ports]

    def fail_over(self) -> None:
        """Let the master change places with a replica, as for maintenance; return at once."""
        ask(self._sentinel(self._ports[0]), "SENTINEL", "FAILOVER", SERVICE)


class ClusterGroup(_Group):
    """A cluster of three primaries, each with as many replicas.

    Args:
        replicas: How many replicas of each primary.
        options: Further lines of each server's configuration.
        binary: Another server's binary.
        persistent: Whether the servers keep a log.
        down_after_ms: How long a server is silent before another one takes over.
    """

    def __init__(self, replicas: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self._replicas = replicas

    @property
    def url(self) -> str:
        """The URL for the engine, with two of the servers."""
        seeds = [f"127.0.0.1:{_port(server)}" for server in self.servers[:2]]
        return f"redis+cluster://{','.join(seeds)}"

    def start(self) -> None:
        """Start all, and wait until all slots are served and the replicas are in step."""
        for _ in range(_PRIMARIES * (1 + self._replicas)):
            self._start_server(
                {
                    "cluster-enabled": "yes",
                    "cluster-port": str(free_port()),
                    "cluster-node-timeout": str(self._down_after_ms),
                    "cluster-require-full-coverage": "no",
                    "cluster-replica-validity-factor": "0",
                }
            )
        clients = list(map(self.client, self.servers))
        first, primaries = clients[0], clients[:_PRIMARIES]
        for number, client in enumerate(clients, start=1):
            ask(client, "CLUSTER", "SET-CONFIG-EPOCH", number)
            bus_port = client.config_get("cluster-port")["cluster-port"]
            ask(first, "CLUSTER", "MEET", "127.0.0.1", _port(self.servers[number - 1]), bus_port)
        for client, begin, end in zip(primaries, _FIRST_SLOTS, _FIRST_SLOTS[1:], strict=False):
            ask(client, "CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        _until(lambda: all(map(self._knows_all, clients)), "the servers met")
        for number, client in enumerate(clients[_PRIMARIES:]):
            ask(client, "CLUSTER", "REPLICATE", self.id_of(primaries[number % _PRIMARIES]))
        _until(lambda: all(map(self._is_in_step, clients)), "the cluster was in step")
        _until(lambda: all(map(self._sees_replicas, clients)), "every server knew the replicas")

    def _knows_all(self, client: Any) -> bool:
        info = client.cluster("INFO")
        known = len(self.servers)
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(known))

    def _is_in_step(self, client: Any) -> bool:
        info = client.info("replication")
        if info["role"] == "master":
            return bool(info["connected_slaves"] == self._replicas)
        return bool(info["master_link_status"] == "up")

    def _sees_replicas(self, client: Any) -> bool:
        nodes = client.cluster("NODES").values()
        replicas = [node for node in nodes if "slave" in node["flags"]]
        return len(replicas) == _PRIMARIES * self._replicas

    def id_of(self, client: Any) -> str:
        """Return the identifier of a server in the cluster."""
        return str(ask(client, "CLUSTER", "MYID"))

    def primary_of(self, key: str) -> EmbeddedServer:
        """Return the server that serves a key, as most servers see it."""
        slot = self.slot_of(key)
        for server in self.live():
            client = self.client(server)
            info = client.info("replication")
            if info["role"] == "master" and self._owns(client, slot):
                return server
        raise LookupError(f"no server serves {key}")

    def _owns(self, client: Any, slot: int) -> bool:
        mine = next(it for it in client.cluster("NODES").values() if "myself" in it["flags"])
        return _has_slot(mine, slot)

    def replicas_of(self, primary: EmbeddedServer) -> Sequence[EmbeddedServer]:
        """Return the live replicas of a server."""
        found = []
        for server in self.live():
            if server is not primary:
                info = self.client(server).info("replication")
                if info["role"] == "slave" and info["master_port"] == _port(primary):
                    found.append(server)
        return found

    def fail_over(self, primary: EmbeddedServer) -> None:
        """Let a primary change places with its replica, as for maintenance; return at once."""
        ask(self.client(self.replicas_of(primary)[0]), "CLUSTER", "FAILOVER")

    def begin_to_migrate(self, key: str, target: EmbeddedServer) -> None:
        """Open the slot of a key for its move to another primary."""
        slot = self.slot_of(key)
        there, here = self.client(target), self.client(self.primary_of(key))
        ask(there, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(here))
        ask(here, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(there))

    def migrate_keys(
        self, source: EmbeddedServer, target: EmbeddedServer, keys: Sequence[str]
    ) -> None:
        """Move keys of an open slot."""
        where = ("127.0.0.1", _port(target), "", 0, 5_000)
        ask(self.client(source), "MIGRATE", *where, "KEYS", *keys)

    def migrate(self, key: str, target: EmbeddedServer) -> None:
        """Move the slot of a key to another primary, key by key, as `redis-cli` does."""
        slot, source = self.slot_of(key), self.primary_of(key)
        self.begin_to_migrate(key, target)
        while keys := ask(self.client(source), "CLUSTER", "GETKEYSINSLOT", slot, 1_000):
            self.migrate_keys(source, target, keys)
        owner = self.id_of(self.client(target))
        for server in (target, source, *self.live()):
            if self.client(server).info("replication")["role"] == "master":
                ask(self.client(server), "CLUSTER", "SETSLOT", slot, "NODE", owner)
        # A server that does not know of the owner's new epoch would not outbid it by the next move,
        # and a late message of this owner could then take the slot back.
        _until(lambda: self._agree_on(owner, slot), "every server knew the slot's new owner")

    def _agree_on(self, owner: str, slot: int) -> bool:
        """Whether all servers know the owner of a slot, and the same epoch of it."""
        epochs = set()
        for server in self.live():
            nodes = self.client(server).cluster("NODES").values()
            known = next(it for it in nodes if it["node_id"] == owner)
            if not _has_slot(known, slot):
                return False
            epochs.add(known["epoch"])
        return len(epochs) == 1

    def heal(self) -> None:
        """Start the servers that were killed again, and wait until the replicas are in step."""
        self.revive()
        clients = list(map(self.client, self.servers))
        _until(lambda: all(map(self._is_in_step, clients)), "the cluster was in step")
        _until(lambda: all(map(self._knows_all, clients)), "the servers met")

    def flush(self) -> None:
        """Delete every key."""
        for server in self.live():
            client = self.client(server)
            if client.info("replication")["role"] == "master":
                client.flushall()

    @staticmethod
    def slot_of(key: str) -> int:
        """Return the slot of a key."""
        return int(key_slot(key.encode()))


def kill(server: EmbeddedServer) -> None:
    """Kill a server, which then answers nothing more."""
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not server.running, f"process {pid} ended")


def _has_slot(node: Any, slot: int) -> bool:
    return any(int(part[0]) <= slot <= int(part[-1]) for part in node["slots"])


def _port(server: EmbeddedServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
