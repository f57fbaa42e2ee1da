"""A mark of the embedded server's clean stop, so that its next run reports no lost writes.

A heartbeat that finds another run of the server reports lost writes (`lua/nodes/beat.lua`), because
it cannot know whether the run before ended with all of its writes. After a clean stop the owner of
the data folder knows, and writes a mark. The next start removes the mark durably before any write,
and enters its own run in the markets whose last run the mark names.

A wrong "nothing was lost" is worse than a false alarm. So the mark counts only if all is certain:
the log's files are those that were synced, not copies of them; and the stop was less than a minute
ago in the same boot of the machine, so that no older state of the whole disk can pass for it.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import redis

from mallard_engine.storage.embedded.log_sync import LOG_FOLDER, sync_log
from mallard_engine.storage.keys import MarketKeys

_MARK: Final = "clean-stop"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_VALID_S: Final = 60.0
# Longer than any server takes to end.
_PAUSE_MS: Final = 3_600_000
_SCANNED: Final = 1_000


def pause_writes(client: redis.Redis) -> str | None:
    """Pause the writes of a server that is about to be stopped; return which run it is.

    All that it has acknowledged is in its log then. None: it has no log or could not write it.

    Raises:
        redis.RedisError: The server did not answer, or refused.
    """
    client.client_pause(_PAUSE_MS, all=False)
    info: Any = client.info("persistence")
    is_written = info.get("aof_enabled") == 1 and info.get("aof_last_write_status") == "ok"
    return run_of(client) if is_written else None


def write_mark(home: Path, run: str) -> None:
    """Mark that this run has ended cleanly. Its writes were paused before it was told to stop.

    Raises:
        OSError: The disk failed; there is no valid mark.
    """
    sync_log(home / LOG_FOLDER)
    if (moment := _moment()) is None:
        return
    with (home / _MARK).open("x") as mark:
        mark.write(json.dumps({"run": run, "log": _log_of(home), **moment}))


def take_mark(home: Path) -> str | None:
    """Remove the mark; return which run it names. None: writes may have been lost since.

    Raises:
        OSError: The mark may still be there, and must not be found by a later start.
    """
    path = home / _MARK
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    path.unlink()
    folder = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    try:
        mark = json.loads(content)
        is_valid = mark["log"] == _log_of(home) and _is_recent(mark)
        return str(mark["run"]) if is_valid else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def hand_over(client: redis.Redis, run: str) -> None:
    """Enter the server's run in each market that was last seen on this earlier run of it.

    Raises:
        redis.RedisError: Some markets will report lost writes.
    """
    now: str = run_of(client)
    pattern = MarketKeys("*").key("lineage")
    for key in client.scan_iter(pattern, count=_SCANNED):
        if client.hget(key, "server") == run.encode():
            client.hset(key, "server", now)


def run_of(client: redis.Redis) -> str:
    """Return the name of the server's run in the keys `lineage`: that of `lua/nodes/beat.lua`."""
    info: Any = client.info("server", "replication")
    return f"{info['run_id']}{info['master_replid']}"


def _log_of(home: Path) -> list[list[str | int]]:
    """Return which files the log consists of, and when the kernel last saw each of them changed.

    No program can set that time: a copy of a file has another one.
    """
    found = sorted((path.name, path.stat()) for path in (home / LOG_FOLDER).iterdir())
    return [[name, at.st_ino, at.st_size, at.st_ctime_ns] for name, at in found]


def _moment() -> dict[str, str | float] | None:
    """Return the boot of the machine and the time by two clocks; None if that is unknown."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return None
    # The first clock cannot be set, the second goes on if the whole machine is set back.
    return {"boot": boot, "up_s": time.clock_gettime(time.CLOCK_BOOTTIME), "at_s": time.time()}


def _is_recent(mark: Mapping[str, Any]) -> bool:
    now: Any = _moment()
    return (
        now is not None
        and now["boot"] == mark["boot"]
        and all(0 <= now[clock] - mark[clock] < _VALID_S for clock in ("up_s", "at_s"))
    )
