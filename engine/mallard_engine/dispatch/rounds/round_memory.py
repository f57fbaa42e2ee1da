"""What a mall's rounds remember, so that a retry does no work that would change nothing."""

from collections.abc import Iterable
from typing import TypeAlias

from mallard_engine.core.model import Near, RoundRecord

_Driver: TypeAlias = tuple[object, ...]
# About 100 m: an idle driver's fixes vary by less.
_DECIMALS = 3
# Jobs whose last record is remembered, beyond those that wait.
_SPARE_RECORDS = 1_024


class SeenDrivers:
    """The drivers that the mall's jobs have been ranked with since its last full round."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Driver, tuple[float, float]]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def clear(self) -> None:
        """Forget all drivers."""
        self._seen.clear()

    def note(self, drivers: Iterable[Near]) -> tuple[bool, bool]:
        """Remember the drivers; return whether one has changed, and whether one has moved."""
        is_changed = has_moved = False
        for near in drivers:
            known = self._seen.get(near.driver.id)
            seen = self._seen[near.driver.id] = _what_matters(near), _where(near)
            is_changed = is_changed or known is None or known[0] != seen[0]
            has_moved = has_moved or known is None or known[1] != seen[1]
        return is_changed, has_moved


def _what_matters(near: Near) -> _Driver:
    """Return what decides, besides the position, which jobs the driver can take."""
    driver = near.driver
    jobs = tuple([held.job for held in driver.jobs])
    # `seq` rises with each offer: the driver has been busy since.
    return driver.epoch, driver.seq, driver.free_since_ms, driver.until_ms, driver.vehicle, jobs


def _where(near: Near) -> tuple[float, float]:
    return round(near.position.lat, _DECIMALS), round(near.position.lon, _DECIMALS)


class RecordedRounds:
    """What the last stored record of each waiting job says; `explain` needs no repetition of it."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._said)

    def clear(self) -> None:
        """Forget all records."""
        self._said.clear()

    def is_news(self, record: RoundRecord, waiting: int) -> bool:
        """Return whether the record says something new of its job, and remember what it says.

        ETAs and costs change with each fix; that is no news. About ``waiting`` records are
        remembered: as many as jobs wait.
        """
        said = _said_by(record)
        if self._said.get(record.job) == said:
            return False
        self._said.pop(record.job, None)
        self._said[record.job] = said
        while len(self._said) > waiting + _SPARE_RECORDS:
            del self._said[next(iter(self._said))]
        return True


def _said_by(record: RoundRecord) -> int:
    verdicts = tuple([(it.driver, it.eligible, it.why_not) for it in record.candidates])
    return hash((record.round, record.radius_m, record.capped, verdicts, record.held_until_ms))
