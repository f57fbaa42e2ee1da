"""Debian's Redis with TLS on every connection and a user for each purpose: Sentinels or a cluster.

Each server, each replica and each Sentinel logs in. The engine's user has only what the guide
asks for.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mallard_engine.storage.embedded.server import end_with_parent
from mallard_engine.workload.redis_groups import SERVICE, ask
from tests.support import port_for_later

_SECRET: Final = "duckling"
_SENTINEL_NEEDS: Final = (
    *("+multi", "+exec", "+slaveof", "+replicaof", "+ping", "+info", "+role", "+subscribe"),
    *("+publish", "+config|rewrite", "+client|setname", "+client|kill", "+script|kill"),
)
_USERS: Final = (
    "user default off",
    f"user mallard on >{_SECRET} ~mallard:* +@all -@dangerous +info +role +config|get",
    f"user replica on >{_SECRET} +psync +replconf +ping",
    f"user tester on >{_SECRET} ~* &* +@all",
    f"user sentinel on >{_SECRET} &* {' '.join(_SENTINEL_NEEDS)}",
)
_WATCHERS: Final = ("user default off", f"user watcher on >{_SECRET} &* +@all")
_WITHIN_S: Final = 40.0


@dataclass
class Secured:
    """The processes, by port, and the URL for the engine."""

    binary: str
    folder: Path
    url: str = ""
    ports: list[int] = field(default_factory=list)
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    clients: list[Any] = field(default_factory=list)

    def client(self, port: int, user: str = "tester") -> Any:
        """Return a client of one process."""
        client = redis.Redis(
            port=port,
            username=user,
            password=_SECRET,
            ssl=True,
            ssl_ca_certs=str(self.folder / "cert.pem"),
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5,
            decode_responses=True,
        )
        self.clients.append(client)
        return client

    def start(self, lines: Sequence[str], *arguments: str) -> int:
        """Start a process that takes only TLS, and return its port."""
        port = port_for_later()
        home = self.folder / str(port)
        home.mkdir()
        config = home / "redis.conf"
        tls = (
            *("bind 127.0.0.1", "port 0", f"tls-port {port}", f"dir {home}"),
            *(f"tls-{name}-file {self.folder}/{name}.pem" for name in ("cert", "key", "ca-cert")),
            *("tls-auth-clients no", "tls-replication yes"),
        )
        config.write_text("\n".join((*tls, *lines)) + "\n")
        with (home / "log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                [self.binary, config, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - started before any thread of ours
            )
        self.ports.append(port)
        return port

    def kill(self, port: int) -> None:
        """Kill a process."""
        self.processes[port].kill()
        self.processes[port].wait()

    def close(self) -> None:
        """End all processes."""
        for client in self.clients:
            client.close()
        for port in self.processes:
            self.kill(port)


def binary_with_tls() -> str | None:
    """Return Debian's server, if it is there and has TLS."""
    binary = shutil.which("redis-server")
    if binary is None or shutil.which("openssl") is None:
        return None
    linked = subprocess.run(
        ["/usr/bin/env", "ldd", binary], capture_output=True, text=True, check=False
    )
    return binary if "libssl" in linked.stdout else None


@contextmanager
def _secured(binary: str, folder: Path) -> Iterator[Secured]:
    subject = ("-subj", "/CN=mallard-test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    made = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-days", "2")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subprocess.run(
        ["/usr/bin/env", "openssl", "req", "-x509", *curve, *made, *subject],
        check=True,
        capture_output=True,
    )
    shutil.copy(folder / "cert.pem", folder / "ca-cert.pem")
    with ExitStack() as stack:
        group = Secured(binary, folder)
        stack.callback(group.close)
        yield group


def _server(*lines: str) -> tuple[str, ...]:
    replication = (f"masterauth {_SECRET}", "masteruser replica", "repl-diskless-sync-delay 0")
    return (*_USERS, *replication, 'save ""', "appendonly no", *lines)


@contextmanager
def secured_sentinels(binary: str, folder: Path) -> Iterator[Secured]:
    """Run a master, a replica and three Sentinels."""
    with _secured(binary, folder) as group:
        master = group.start(_server())
        group.start(_server(f"replicaof 127.0.0.1 {master}"))
        watch = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2",
            f"sentinel down-after-milliseconds {SERVICE} 1500",
            f"sentinel failover-timeout {SERVICE} 5000",
            f"sentinel auth-user {SERVICE} sentinel",
            f"sentinel auth-pass {SERVICE} {_SECRET}",
            "sentinel sentinel-user watcher",
            f"sentinel sentinel-pass {_SECRET}",
        )
        ports = [group.start((*_WATCHERS, *watch), "--sentinel") for _ in range(3)]
        sentinels = [group.client(port, "watcher") for port in ports]
        for sentinel in sentinels:
            until(sentinel.ping)
            ask(sentinel, "SENTINEL", "DEBUG", "info-period", 500)

        def complete(sentinel: Any) -> bool:
            state = sentinel.sentinel_master(SERVICE)
            replicas = sentinel.sentinel_slaves(SERVICE)
            return state["num-other-sentinels"] == 2 and [
                it["master-link-status"] for it in replicas
            ] == ["ok"]

        for sentinel in sentinels:
            until(partial(complete, sentinel))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        group.url = (
            f"rediss+sentinel://mallard:{_SECRET}@{hosts}/{SERVICE}?sentinel_username=watcher"
            f"&sentinel_password={_SECRET}&ssl_ca_certs={folder}/cert.pem"
        )
        yield group


@contextmanager
def secured_cluster(binary: str, folder: Path) -> Iterator[Secured]:
    """Run a cluster of three primaries with a replica each."""
    with _secured(binary, folder) as group:
        for _ in range(6):
            mode = ("cluster-enabled yes", f"cluster-port {port_for_later()}", "tls-cluster yes")
            timing = ("cluster-node-timeout 1500", "cluster-require-full-coverage no")
            group.start(_server(*mode, *timing, "cluster-replica-validity-factor 0"))
        clients = [group.client(port) for port in group.ports]
        for client in clients:
            until(client.ping)
        for number, (client, port) in enumerate(zip(clients, group.ports, strict=True), start=1):
            ask(client, "CLUSTER", "SET-CONFIG-EPOCH", number)
            bus = client.config_get("cluster-port")["cluster-port"]
            ask(clients[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)
        for client, (first, last) in zip(
            clients, ((0, 5_460), (5_461, 10_922), (10_923, 16_383)), strict=False
        ):
            ask(client, "CLUSTER", "ADDSLOTSRANGE", first, last)
        known = str(len(clients))
        until(
            lambda: all(
                info["cluster_known_nodes"] == known and info["cluster_state"] == "ok"
                for info in (it.cluster("INFO") for it in clients)
            )
        )
        for primary, replica in zip(clients[:3], clients[3:], strict=True):
            ask(replica, "CLUSTER", "REPLICATE", ask(primary, "CLUSTER", "MYID"))
        until(lambda: all(it.info("replication")["connected_slaves"] for it in clients[:3]))
        until(
            lambda: all(
                sum("slave" in node["flags"] for node in it.cluster("NODES").values()) == 3
                for it in clients
            )
        )
        seeds = ",".join(f"127.0.0.1:{port}" for port in group.ports[:2])
        group.url = f"rediss+cluster://mallard:{_SECRET}@{seeds}?ssl_ca_certs={folder}/cert.pem"
        yield group


def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition; an error counts as no."""
    ends_s = time.monotonic() + _WITHIN_S
    while True:
        with suppress(redis.RedisError):
            if condition():
                return
        if time.monotonic() > ends_s:
            raise TimeoutError(f"not within {_WITHIN_S:g} s: {condition}")
        time.sleep(0.05)
