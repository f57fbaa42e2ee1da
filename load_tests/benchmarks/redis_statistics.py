"""Reads Redis's `INFO`: version, CPU, and time by command."""

from collections.abc import Mapping
from typing import Any


def server_version(server: Mapping[str, Any]) -> str:
    """Return the server and its version from `INFO server`."""
    if "valkey_version" in server:
        return str(server["valkey_version"])
    return f"{server['redis_version']} (Redis)"


def cpu_us(cpu: Mapping[str, Any]) -> float:
    """Return the CPU time of the main thread in microseconds, from `INFO cpu`."""
    return 1e6 * sum(float(cpu[f"used_cpu_{kind}_main_thread"]) for kind in ("user", "sys"))


def command_us(stats: Mapping[str, Any], *commands: str) -> float:
    """Return the microseconds in these commands since the reset, from `INFO commandstats`."""
    return sum(float(stats.get(f"cmdstat_{name}", {"usec": 0})["usec"]) for name in commands)
