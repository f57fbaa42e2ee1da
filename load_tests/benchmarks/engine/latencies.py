"""Redis's own statistics: calls and microseconds by command, and CPU."""

from collections.abc import Mapping

from mallard_engine.storage.client.client import Link


async def reset(link: Link) -> None:
    """Reset the statistics."""
    await link.call("CONFIG", "RESETSTAT")


async def command_us(link: Link, command: str) -> tuple[int, float]:
    """Return the calls of a command since the reset and their total microseconds.

    A command called by a script counts for both.
    """
    statistics = (await _info(link, "commandstats")).get(f"cmdstat_{command}")
    if statistics is None:
        return 0, 0.0
    fields = dict(part.split("=") for part in statistics.split(","))
    return int(fields["calls"]), float(fields["usec"])


async def cpu_us(link: Link) -> float:
    """Return the CPU time of the server's main thread since its start, in microseconds."""
    statistics = await _info(link, "cpu")
    return 1e6 * sum(float(statistics[f"used_cpu_{kind}_main_thread"]) for kind in ("user", "sys"))


async def version(link: Link) -> str:
    """Return the version of the embedded server."""
    return (await _info(link, "server"))["valkey_version"]


async def _info(link: Link, section: str) -> Mapping[str, str]:
    text: bytes = await link.call("INFO", section)
    lines = text.decode().splitlines()
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
