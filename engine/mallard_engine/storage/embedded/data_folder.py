"""The folder of an embedded server: private, and used by one server at a time."""

import fcntl
import hashlib
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from mallard_engine.storage.client.errors import DataFolderInUse, EmbeddedServerError

# The path of a Unix socket has at most 108 bytes (104 on macOS) with the terminating zero.
_MAX_SOCKET_PATH_BYTES = 100
_POLL_S = 0.01


def own_folder(folder: Path) -> None:
    """Create the folder, or check that it belongs to this user and is private."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise EmbeddedServerError(f"{folder} belongs to another user")
    folder.chmod(0o700)


def lock_folder(home: Path, wait_s: float) -> int:
    """Lock the folder for one server; return the descriptor that holds the lock.

    The lock ends when the last copy of the descriptor is closed. The server has a copy, too.

    Raises:
        DataFolderInUse: The owner of the lock is alive, or only its server still is after `wait_s`.
        OSError: The lock cannot be written.
    """
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode()
            # The owner was killed: its server finishes its log and releases the lock soon.
            if owner and not _is_alive(int(owner)) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            os.close(lock)
            raise DataFolderInUse(
                f"{home.parent} is in use by process {owner or '(unknown)'}; "
                "give each its own folder with --data, or share a Redis with --redis"
            ) from None
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except OSError:  # the disk is full, for example
            os.close(lock)
            raise
        return lock


def hold_path(home: Path) -> socket.socket | None:
    """Reserve the folder's path for this process, even if the folder is deleted.

    The lock is a file in the folder. If the folder were deleted under a running server, a second
    server could be started on the same path. So the path is also reserved as a name in the
    kernel's abstract socket namespace, which ends with the process and leaves no file.

    Returns:
        The socket that holds the name; None on platforms other than Linux.

    Raises:
        DataFolderInUse: Another process has reserved the path.
    """
    if not sys.platform.startswith("linux"):
        return None
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0mallard-{os.getuid()}-{_digest(home)}")
    except OSError:
        holder.close()
        raise DataFolderInUse(
            f"{home.parent} is in use by another process, though its folder may have been replaced"
        ) from None
    return holder


def fault_of(home: Path, lock: int, log: Path | None) -> str | None:
    """Return what has happened to the folder of a running server; None if it is intact.

    What is written to a deleted log is lost when the server ends.

    Args:
        home: The server's folder.
        lock: The descriptor of the lock in it.
        log: The folder of the server's log; None without one.
    """
    try:
        there, own = (home / "lock").stat(), os.fstat(lock)
    except OSError:
        return f"the data folder {home.parent} was deleted or moved"
    if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
        return f"the data folder {home.parent} was replaced"
    if log is not None and not any(log.glob("*.incr.aof")):
        return f"the store's log in {log} was deleted"
    return None


def socket_path(home: Path) -> Path:
    """Return the socket's path: in the server's folder, or elsewhere if that path is too long."""
    path = home / "server.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    return Path(tempfile.gettempdir()) / f"mallard-{os.getuid()}-{_digest(home)}" / "server.sock"


def _digest(home: Path) -> str:
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:16]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True
