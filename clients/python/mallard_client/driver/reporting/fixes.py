"""Cleans the position readings of a device, and keeps those that were not sent yet."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from mallard_protocol.messages import MAX_FIXES, Fix

# 1e-7 degrees are about a centimetre; more digits would only cost bytes.
_DEGREE_DIGITS: Final = 7
# Bounds of a fix in the contract.
_MAX_ACCURACY_M: Final = 100_000.0
_MAX_SPEED_MPS: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class LocalFix:
    """One position reading of the device; `at_ms` is by its uptime."""

    at_ms: int
    lat: float
    lon: float
    acc_m: float | None
    heading_deg: float | None = None
    speed_mps: float | None = None

    def on_wire(self, offset_ms: int) -> Fix:
        """Return the fix as sent; `offset_ms`: the server's clock minus the uptime."""
        return (
            max(0, self.at_ms + offset_ms),
            round(self.lat, _DEGREE_DIGITS),
            round(self.lon, _DEGREE_DIGITS),
            self.acc_m,
            self.heading_deg,
            self.speed_mps,
        )


def clean_fix(
    at_ms: int,
    lat: float,
    lon: float,
    acc_m: float | None,
    heading_deg: float | None,
    speed_mps: float | None,
) -> LocalFix | None:
    """Convert a reading to the contract's form; None if its place is not on earth.

    Platforms write -1, NaN or nothing for an unknown accuracy, heading or speed. Such a field
    becomes None and the place is kept.
    """
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # false for NaN too
        return None
    return LocalFix(
        at_ms,
        float(lat),
        float(lon),
        _known(acc_m, _MAX_ACCURACY_M),
        _known(heading_deg, 360.0),
        _known(speed_mps, _MAX_SPEED_MPS),
    )


def _known(value: float | None, highest: float) -> float | None:
    return value if value is not None and math.isfinite(value) and 0 <= value <= highest else None


class FixBuffer:
    """Fixes that were not sent yet, at most `limit`; a full buffer drops the oldest."""

    def __init__(self, limit: int) -> None:
        self._fixes: deque[LocalFix] = deque(maxlen=limit)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._fixes)

    def add(self, fix: LocalFix | None) -> bool:
        """Append a fix, the newest so far; return False for None."""
        if fix is None:
            self.dropped += 1
            return False
        self.dropped += len(self._fixes) == self._fixes.maxlen
        self._fixes.append(fix)
        return True

    def take(self) -> tuple[LocalFix, ...]:
        """Remove and return the oldest fixes, oldest first, as many as fit in one message."""
        return tuple(self._fixes.popleft() for _ in range(min(MAX_FIXES, len(self._fixes))))

    def put_back(self, fixes: tuple[LocalFix, ...]) -> None:
        """Put back fixes that could not be sent, before the others, while there is room."""
        room = (self._fixes.maxlen or 0) - len(self._fixes)
        kept = fixes[max(0, len(fixes) - room) :]
        self.dropped += len(fixes) - len(kept)
        self._fixes.extendleft(reversed(kept))
