"""Where the images of proofs are stored: by default in a folder that all nodes share."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Protocol


class ProofFiles(Protocol):
    """Stores files by market and id. Each call may block: it runs in a thread.

    An id is the engine's own and has no slash.
    """

    def put(self, market: str, proof: str, data: bytes, media_type: str) -> None:
        """Store a file. Raises `OSError`."""

    def get(self, market: str, proof: str) -> bytes | None:
        """Return a file; None if there is none. Raises `OSError`."""
        ...

    def remove(self, market: str, proof: str) -> None:
        """Remove a file, if it is there. Raises `OSError`."""


class FolderFiles:
    """Files in a folder that only the node's user may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, market: str, proof: str, data: bytes, _media_type: str) -> None:
        """Write a file under another name first: a reader never sees half of it."""
        path = self._path(market, proof)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f".{secrets.token_hex(8)}")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def get(self, market: str, proof: str) -> bytes | None:
        """Read a file."""
        with contextlib.suppress(FileNotFoundError):
            return self._path(market, proof).read_bytes()
        return None

    def remove(self, market: str, proof: str) -> None:
        """Remove a file."""
        self._path(market, proof).unlink(missing_ok=True)

    def _path(self, market: str, proof: str) -> Path:
        return self._folder / market / proof
