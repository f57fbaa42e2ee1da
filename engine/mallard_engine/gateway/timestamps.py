"""Converts between the RFC 3339 times of the HTTP API and epoch milliseconds."""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

CLOCK_SKEW_MS: Final = 1_000
"""How far the clock of a caller who means "now" may be ahead of that of Redis."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(datetime):
    """A time of the server, encoded in UTC with milliseconds: `2026-11-22T23:10:00.250Z`.

    A time that a client sent stays a plain `datetime` and is returned with its original offset.
    """

    @classmethod
    def at_ms(cls, epoch_ms: int) -> Self:
        """Return the time of epoch milliseconds."""
        return cls.fromtimestamp(epoch_ms / 1000, UTC)


def moment_or_none(epoch_ms: int | None) -> Moment | None:
    """Return the time of epoch milliseconds; None if there is none."""
    return None if epoch_ms is None else Moment.at_ms(epoch_ms)


def epoch_ms(at: datetime) -> int:
    """Return a time with an offset as epoch milliseconds, rounded down."""
    since = at - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def utc(epoch_ms: int) -> datetime:
    """Return epoch milliseconds as a plain time in UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)
