"""Measures when an operator sees a position that a driver sent."""

import json
import time
from typing import Any, Final

import gevent
from gevent.lock import BoundedSemaphore
from geventhttpclient import HTTPClient

from load_tests.credentials import DriverToken

_SHOWN_WITHIN_S: Final = 5.0
# The resolution of the measure.
_POLL_S: Final = 0.02
_AROUND_M: Final = 50


class OperatorView:
    """Polls for one driver at a time, as a request makes the engine read a whole market."""

    def __init__(self, node: str, token: str) -> None:
        self._http = HTTPClient.from_url(node)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._turn = BoundedSemaphore()
        self._next_s = 0.0

    def take_turn(self, every_s: float) -> bool:
        """Return whether a probe is due; `sees` must then be called."""
        now_s = time.monotonic()
        if now_s < self._next_s or not self._turn.acquire(blocking=False):
            return False
        self._next_s = now_s + every_s
        return True

    def sees(self, who: DriverToken, at: tuple[float, float], at_ms: int) -> bool:
        """Poll until the driver is shown with this fix or a newer one, for 5 s at most."""
        path = f"/v1/markets/{who.market}/drivers?near={at[0]},{at[1]}&radius_m={_AROUND_M}"
        ends_s = time.monotonic() + _SHOWN_WITHIN_S
        try:
            while time.monotonic() < ends_s:
                shown: dict[str, Any] = json.loads(self._http.get(path, self._headers).read())
                for item in shown.get("items", ()):
                    if item["driver"] == who.driver and (item["at_ms"] or 0) >= at_ms:
                        return True
                gevent.sleep(_POLL_S)
        except (OSError, ValueError):
            return False
        finally:
            self._turn.release()
        return False
