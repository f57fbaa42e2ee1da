"""Times over HTTP: RFC 3339 strings with an offset there, epoch milliseconds here."""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(datetime):
    """A time of the server's own: written in UTC with milliseconds, as `2026-11-22T23:10:00.250Z`.

    A time that somebody sent stays a plain ``datetime`` and goes back with the offset that it had.
    """

    @classmethod
    def at_ms(cls, epoch_ms: int) -> Self:
        """The moment of an epoch in milliseconds."""
        return cls.fromtimestamp(epoch_ms / 1000, UTC)


def epoch_ms(at: datetime) -> int:
    """A time with an offset as epoch milliseconds, rounded down."""
    since = at - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def utc(epoch_ms: int) -> datetime:
    """Epoch milliseconds as a plain time in UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)
