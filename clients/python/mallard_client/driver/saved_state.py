"""The document that a driver app keeps in its `Storage`: jobs, status and reports.

It is JSON, so that support staff can read it. Times are by the server's clock if that was known,
else by the device's. Unreadable parts are left out and logged, as a partial document is better than
none.
"""

from collections.abc import Iterable
from logging import getLogger
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import Held, Proof

_log = getLogger(__name__)
T = TypeVar("T")


class SavedTime(Struct, frozen=True):
    """Epoch milliseconds; `by_server`: of the server's clock, else of the device's."""

    ms: int
    by_server: bool


class SavedReport(Struct, frozen=True):
    """A step that the engine has not answered."""

    job: str
    attempt: int
    step: Step
    at: SavedTime
    proof: Proof | None = None
    reason: str | None = None
    store: str | None = None
    parcels: int | None = None
    jobs: tuple[str, ...] | None = None


class SavedWish(Struct, frozen=True):
    """What the driver wants, and until when."""

    wish: Wish
    until: SavedTime | None = None


class Saved(Struct, frozen=True):
    """The document. `owner` is market and driver; None before the first welcome."""

    owner: tuple[str, str] | None = None
    wish: SavedWish | None = None
    reports: tuple[SavedReport, ...] = ()
    holds: tuple[Held, ...] = ()


class _Loose(Struct, frozen=True):
    owner: msgspec.Raw = msgspec.Raw(b"null")
    wish: msgspec.Raw = msgspec.Raw(b"null")
    reports: tuple[msgspec.Raw, ...] = ()
    holds: tuple[msgspec.Raw, ...] = ()


def encode(saved: Saved) -> bytes:
    """The document as bytes."""
    return msgspec.json.encode(saved)


def decode(document: bytes) -> Saved:
    """Decode a document without its unreadable parts."""
    try:
        loose = msgspec.json.decode(document, type=_Loose)
    except (msgspec.MsgspecError, UnicodeError) as error:
        _log.warning("the saved document cannot be read, starting without: %s", error)
        return Saved()
    return Saved(
        _part(loose.owner, tuple[str, str] | None, None),
        _part(loose.wish, SavedWish | None, None),
        tuple(_parts(loose.reports, SavedReport)),
        tuple(_parts(loose.holds, Held)),
    )


def _part(raw: msgspec.Raw, kind: Any, otherwise: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        _log.warning("a part of the saved document cannot be read: %s", error)
        return otherwise


def _parts(raws: Iterable[msgspec.Raw], kind: type[T]) -> Iterable[T]:
    for raw in raws:
        part = _part(raw, kind, None)
        if part is not None:
            yield part
