"""The folder that an embedded server lives in: ours alone, and one server's at a time."""

import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path

from engine.store.errors import DataFolderInUse, EmbeddedServerError

# A Unix socket's path fits in 108 bytes (104 on macOS), its closing zero included.
_MAX_SOCKET_PATH_BYTES = 100
_POLL_S = 0.01


def own_folder(folder: Path) -> None:
    """Make the folder, or make sure that it is ours, and that nobody else may look into it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise EmbeddedServerError(f"{folder} belongs to somebody else")
    folder.chmod(0o700)


def lock_folder(home: Path, wait_s: float) -> int:
    """Lock the folder for one server; return the descriptor that holds the lock.

    The lock ends when the last copy of the descriptor is closed. Raises `DataFolderInUse` at once
    when its owner is alive, and after `wait_s` when only the owner's server still is.
    """
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode()
            # The owner was killed: its server is writing its last words and lets go in a moment.
            if owner and not _is_alive(int(owner)) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            os.close(lock)
            raise DataFolderInUse(
                f"{home.parent} is in use by process {owner or '(unknown)'}; "
                "give each its own folder with --data, or share a Redis with --redis"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return lock


def socket_path(home: Path) -> Path:
    """Return the socket's path: in the server's folder, or elsewhere when that is too deep."""
    path = home / "server.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"mallard-{os.getuid()}-{digest}" / "server.sock"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
