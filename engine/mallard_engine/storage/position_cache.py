"""The fast path of positions: a node validates fixes itself, against the last stored position.

Nearly all fixes qualify. Validating each in the script, with trigonometry and unpacking, costs
Redis several times what the write costs (docs/adr/0012). The caller sends the stored bytes that it
compared the fix with, and the script writes the fix only if the stored bytes are still the same. So
an outdated cache has no effect: the script decides.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverFix
from mallard_engine.storage.records.drivers import read_stored_position
from mallard_engine.storage.records.packing import pack
from mallard_protocol.codes import FUTURE_FIX_MS

# One entry for each driver. Without its entry, a fix is validated by the script.
_MOST = 65_536
# An upper bound of the length of a degree of latitude or longitude.
_M_PER_DEG = 111_700.0
# A device's clock may be ahead by this; minus a second for our error about the storage's clock.
_AHEAD_MS = FUTURE_FIX_MS - 1_000


class _Stored(NamedTuple):
    """A driver's stored position as last known: the fix, its time of receipt, and the bytes."""

    received_ms: float
    at_ms: float
    lat: float
    lon: float
    blob: bytes


class FastPath(NamedTuple):
    """Validated fixes, one for each driver, as the script writes them.

    For each of the ``drivers``: ``known``, the bytes stored now; ``blobs``, the bytes to store;
    three ``moves``: longitude, latitude, name; ``indices``: the fix of the batch.
    """

    drivers: list[str]
    known: list[bytes]
    blobs: list[bytes]
    moves: list[str]
    indices: list[int]


class PositionCache:
    """The stored positions of one market's drivers, as far as this node wrote them."""

    def __init__(self, policy: MarketPolicy) -> None:
        self._m_per_ms = policy.max_speed_mps / 1000
        # Half of the limit: the position is fresh by the storage's clock too.
        self._fresh_ms = policy.stale_after_s * 1000 / 2
        self._stored: dict[str, _Stored] = {}

    def __len__(self) -> int:
        return len(self._stored)

    def split(self, fixes: Sequence[DriverFix], now_ms: int) -> tuple[FastPath, list[int]]:
        """Return the fast path of a batch, and the indices of the fixes for the script to validate.

        The script validates all fixes of a driver with several: if the cache is outdated, each of
        them needs a verdict of its own. ``now_ms`` is the storage's clock as this node knows it.
        """
        last: dict[str, int] = {}
        checked: set[str] = set()
        for index, fix in enumerate(fixes):
            driver = fix.driver
            if driver not in checked and driver not in last and self._is_plausible(fix, now_ms):
                last[driver] = index
            else:
                checked.add(driver)
        fast = FastPath([], [], [], [], [])
        for driver, index in last.items():
            if driver in checked:
                continue
            fix = fixes[index]
            blob = pack((now_ms, fix.at_ms, fix.lat, fix.lon, fix.acc_m, 0, 0, 0, 0, 0))
            fast.drivers.append(driver)
            fast.known.append(self._stored[driver].blob)
            fast.blobs.append(blob)
            fast.moves.extend((f"{fix.lon:.7f}", f"{fix.lat:.7f}", driver))
            fast.indices.append(index)
        rest = [i for i, fix in enumerate(fixes) if fix.driver in checked] if checked else []
        return fast, rest

    def stored(self, fast: FastPath, fixes: Sequence[DriverFix], now_ms: int) -> None:
        """Take over the fixes of a fast path that the script has stored."""
        self._make_room()
        for index, blob in zip(fast.indices, fast.blobs, strict=True):
            fix = fixes[index]
            self._stored[fix.driver] = _Stored(now_ms, fix.at_ms, fix.lat, fix.lon, blob)

    def learn(self, driver: str, blob: bytes) -> None:
        """Take over the bytes that are stored of a driver."""
        self._make_room()
        received_ms, at_ms, lat, lon = read_stored_position(blob)[:4]
        self._stored[driver] = _Stored(received_ms, at_ms, lat, lon, blob)

    def forget(self, drivers: Iterable[str]) -> None:
        """Drop drivers."""
        for driver in drivers:
            self._stored.pop(driver, None)

    def _is_plausible(self, fix: DriverFix, now_ms: int) -> bool:
        """Return whether the script would accept the fix, by a stricter rule.

        The fix is newer, present, inside, and within the distance of the maximum speed; or it
        repeats the stored one.
        """
        track = self._stored.get(fix.driver)
        if track is None or fix.fault or now_ms - track.received_ms > self._fresh_ms:
            return False
        passed_ms = fix.at_ms - track.at_ms
        if passed_ms == 0:
            return bool(fix.lat == track.lat and fix.lon == track.lon)
        if passed_ms < 0 or fix.at_ms > now_ms + _AHEAD_MS:
            return False
        away_m = (abs(fix.lat - track.lat) + abs(fix.lon - track.lon)) * _M_PER_DEG
        return away_m <= self._m_per_ms * max(passed_ms, 1000)

    def _make_room(self) -> None:
        if len(self._stored) > _MOST:
            self._stored.clear()
