"""The persistent storage of a driver app: in a file, or in memory for tests."""

import contextlib
import os
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Stores one small document of bytes (a few kilobytes). Both calls may block briefly.

    `save` is called before the call that caused it returns, so that a kill right after it loses
    nothing. Exceptions of either are logged, and the client continues without the storage.
    """

    def load(self) -> bytes | None:
        """Return the last saved document; None if there is none."""

    def save(self, document: bytes) -> None:
        """Replace the document atomically."""


class MemoryStorage:
    """Stores the document in memory, for tests and for apps that restart clients."""

    def __init__(self) -> None:
        self.document: bytes | None = None

    def load(self) -> bytes | None:
        """Return the last saved document."""
        return self.document

    def save(self, document: bytes) -> None:
        """Replace the document."""
        self.document = document


class FileStorage:
    """Stores the document in a file that only its owner may read, as it may hold delivery codes.

    Each version is written and synced beside the file, then renamed to it.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def load(self) -> bytes | None:
        """Return the last saved document; None without a file. Raises `OSError`."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, document: bytes) -> None:
        """Replace the file. Raises `OSError`."""
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # All drafts have one name, so the next one overwrites the rest of an interrupted one.
        draft = folder / f".{self._path.name}.draft"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Sync the folder, so that the renaming is durable, where the platform supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
