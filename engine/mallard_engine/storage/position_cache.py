"""Which fixes need no judgement by the store: those that plainly follow from the one before.

Nearly all do, and judging each in the script, with its trigonometry and its unpacking, costs Redis
several times what writing it does (docs/adr/0012). The caller says which stored position it
went by, and the script writes the fix only if that is, to the byte, what is stored: so a stale
belief has no effect, and Lua still arbitrates.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverFix
from mallard_engine.storage.records import pack, read_stored_position
from mallard_protocol.codes import FUTURE_FIX_MS

# No more than one a driver; forgetting one costs a judgement.
_MOST = 65_536
# A degree of latitude is never longer, nor is one of longitude.
_M_PER_DEG = 111_700.0
# A phone's clock may be ahead by this and no more; a second for what we err about the store's.
_AHEAD_MS = FUTURE_FIX_MS - 1_000


class _Track(NamedTuple):
    """What is stored of a driver, as last heard: the fix, when it came, and the bytes."""

    received_ms: float
    at_ms: float
    lat: float
    lon: float
    blob: bytes


class Plain(NamedTuple):
    """Fixes that follow plainly, one a driver, as the script writes them.

    Of each of the ``drivers``: ``known``, what is stored now; ``blobs``, what is to be; three of
    ``moves``: longitude, latitude, name; ``indices``: which fix of the batch it is.
    """

    drivers: list[str]
    known: list[bytes]
    blobs: list[bytes]
    moves: list[str]
    indices: list[int]


class Tracks:
    """The stored positions of one market's drivers, as far as this node wrote them."""

    def __init__(self, policy: MarketPolicy) -> None:
        self._m_per_ms = policy.max_speed_mps / 1000
        # Well within the limit: by the store's clock it is then fresh for certain.
        self._fresh_ms = policy.stale_after_s * 1000 / 2
        self._tracks: dict[str, _Track] = {}

    def __len__(self) -> int:
        return len(self._tracks)

    def sort_out(self, fixes: Sequence[DriverFix], now_ms: int) -> tuple[Plain, list[int]]:
        """The plain ones of a batch, and the indices of those that the store must judge.

        The store judges a driver with several fixes: if what this node knows is outdated, each of
        them has a verdict of its own. ``now_ms``: the store's clock, as believed.
        """
        last: dict[str, int] = {}
        judged: set[str] = set()
        for index, fix in enumerate(fixes):
            driver = fix.driver
            if driver not in judged and driver not in last and self._follows(fix, now_ms):
                last[driver] = index
            else:
                judged.add(driver)
        plain = Plain([], [], [], [], [])
        for driver, index in last.items():
            if driver in judged:
                continue
            fix = fixes[index]
            blob = pack((now_ms, fix.at_ms, fix.lat, fix.lon, fix.acc_m, 0, 0, 0, 0, 0))
            plain.drivers.append(driver)
            plain.known.append(self._tracks[driver].blob)
            plain.blobs.append(blob)
            plain.moves.extend((f"{fix.lon:.7f}", f"{fix.lat:.7f}", driver))
            plain.indices.append(index)
        rest = [i for i, fix in enumerate(fixes) if fix.driver in judged] if judged else []
        return plain, rest

    def wrote(self, plain: Plain, fixes: Sequence[DriverFix], now_ms: int) -> None:
        """These are what is stored now."""
        self._make_room()
        for index, blob in zip(plain.indices, plain.blobs, strict=True):
            fix = fixes[index]
            self._tracks[fix.driver] = _Track(now_ms, fix.at_ms, fix.lat, fix.lon, blob)

    def learn(self, driver: str, blob: bytes) -> None:
        """This is what is stored of the driver now."""
        self._make_room()
        received_ms, at_ms, lat, lon = read_stored_position(blob)[:4]
        self._tracks[driver] = _Track(received_ms, at_ms, lat, lon, blob)

    def forget(self, drivers: Iterable[str]) -> None:
        """They are of no more interest here."""
        for driver in drivers:
            self._tracks.pop(driver, None)

    def _follows(self, fix: DriverFix, now_ms: int) -> bool:
        """Whether the fix will be believed after the stored one, by a rule stricter than the
        script's: newer, of now, inside, and within the way that the fastest make in that time; or
        the stored one repeated."""
        track = self._tracks.get(fix.driver)
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
        if len(self._tracks) > _MOST:
            self._tracks.clear()
