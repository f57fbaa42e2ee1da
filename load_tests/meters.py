"""Reads the CPU and memory of the engine and Redis, and the engine's event-loop lag.

The sources are `/proc`, Redis's `INFO` and the engine's `/metrics`.
"""

import os
import re
import socket
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_ANSWER_WITHIN_S: Final = 10.0
_LAG: Final = re.compile(
    r'^mallard_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading at one moment: CPU in seconds since the process started, memory in bytes.

    `engine_*` are sums over the nodes, None for nodes on other machines. `lag` is the cumulative
    histogram of all nodes' event-loop lag by upper bound in seconds.
    """

    at_s: float
    engine_cpu_s: float | None
    engine_bytes: int | None
    redis_cpu_s: float | None
    redis_bytes: int | None
    redis_calls: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    lag: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """The use between two readings: CPU as a share of one core, memory at the end.

    `lag_p50_ms` and `lag_p99_ms` are upper bounds of the histogram's buckets.
    """

    seconds: float
    engine_cpu: float | None
    engine_mib: float | None
    redis_cpu: float | None
    redis_mib: float | None
    lag_p50_ms: float | None
    lag_p99_ms: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the known values by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(value, 5) for name, value in values.items() if value is not None}


class Meters:
    """The meters of a system; they read only what is named."""

    def __init__(
        self,
        pids: Sequence[int] = (),
        *,
        redis: Path | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self._pids = pids
        self._redis = redis
        self._metrics = metrics

    def opening(self) -> Reading:
        """Read all meters; the cost of reading falls before the measured interval."""
        lag = self._lag()
        return self._read(lag)

    def closing(self) -> Reading:
        """Read all meters; the cost of reading falls after the measured interval."""
        reading = self._read({})
        return Reading(
            reading.at_s,
            reading.engine_cpu_s,
            reading.engine_bytes,
            reading.redis_cpu_s,
            reading.redis_bytes,
            reading.redis_calls,
            self._lag(),
        )

    def _read(self, lag: Mapping[float, float]) -> Reading:
        info = redis_info(self._redis) if self._redis else None
        return Reading(
            at_s=time.monotonic(),
            engine_cpu_s=sum(map(process_cpu_s, self._pids)) if self._pids else None,
            engine_bytes=sum(map(process_bytes, self._pids)) if self._pids else None,
            redis_cpu_s=(
                float(info["used_cpu_user"]) + float(info["used_cpu_sys"]) if info else None
            ),
            redis_bytes=int(info["used_memory"]) if info else None,
            redis_calls=_calls(info or {}),
            lag=lag,
        )

    def _lag(self) -> dict[float, float]:
        counts: dict[float, float] = {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for node in self._metrics:
            with opener.open(f"{node}/metrics", timeout=_ANSWER_WITHIN_S) as response:
                text = response.read().decode()
            for bound, count in _LAG.findall(text):
                counts[float(bound)] = counts.get(float(bound), 0.0) + float(count)
        return counts


def usage(before: Reading, after: Reading) -> Usage:
    """Return the use between two readings."""
    seconds = after.at_s - before.at_s
    lag = {bound: count - before.lag.get(bound, 0.0) for bound, count in after.lag.items()}
    return Usage(
        seconds=seconds,
        engine_cpu=_share(before.engine_cpu_s, after.engine_cpu_s, seconds),
        engine_mib=_mib(after.engine_bytes),
        redis_cpu=_share(before.redis_cpu_s, after.redis_cpu_s, seconds),
        redis_mib=_mib(after.redis_bytes),
        lag_p50_ms=_bound_ms(lag, 0.50),
        lag_p99_ms=_bound_ms(lag, 0.99),
    )


def process_cpu_s(pid: int) -> float:
    """Return the CPU time of a process and its threads, in seconds.

    Raises:
        OSError: No such process.
    """
    # `/proc` counts in ticks of 10 ms, in which a short run may use nothing. This clock counts
    # nanoseconds; its id is what `clock_getcpuclockid`(3), which Python lacks, returns on Linux.
    return time.clock_gettime(~pid << 3 | 2)


def process_bytes(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def redis_info(path: Path) -> dict[str, str]:
    """Return the `INFO` of the server on this socket. Raises `OSError`."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_ANSWER_WITHIN_S)
        line.connect(str(path))
        line.sendall(b"INFO everything\r\n")
        reply = b""
        while (end := reply.find(b"\r\n")) < 0 or len(reply) < end + 4 + int(reply[1:end]):
            more = line.recv(65_536)
            if not more:
                raise OSError(f"{path} hung up")
            reply += more
    pairs = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def calls_between(before: Reading, after: Reading, *names: str) -> int:
    """Return how often these commands ran between two readings, also within scripts."""
    return sum(
        after.redis_calls.get(name, (0, 0))[0] - before.redis_calls.get(name, (0, 0))[0]
        for name in names
    )


def _calls(info: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Return the calls and total microseconds of each command."""
    calls = {}
    for name, value in info.items():
        if name.startswith("cmdstat_"):
            reply = dict(pair.split("=") for pair in value.split(","))
            calls[name.removeprefix("cmdstat_")] = (int(reply["calls"]), int(reply["usec"]))
    return calls


def _share(before: float | None, after: float | None, seconds: float) -> float | None:
    return None if before is None or after is None else (after - before) / seconds


def _mib(size: int | None) -> float | None:
    return None if size is None else size / 2**20


def _bound_ms(counts: Mapping[float, float], share: float) -> float | None:
    total = max(counts.values(), default=0.0)
    if not total:
        return None
    return next(bound for bound in sorted(counts) if counts[bound] >= share * total) * 1000
