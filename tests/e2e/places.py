"""Positions of malls, as `GET /v1/markets/{m}` returns them."""

import dataclasses
import json
import urllib.request
import uuid
from typing import Any

from tests.e2e.shop import Json, soon
from tests.support import GUARD_S

_METRES_A_DEGREE = 111_320.0


@dataclasses.dataclass(frozen=True)
class Place:
    """A mall, its first gate and two of its stores."""

    market: str
    mall: str
    gate: tuple[float, float]
    stores: tuple[str, str]

    def north(self, metres: float) -> tuple[float, float]:
        """A position so far north of the gate."""
        return self.gate[0] + metres / _METRES_A_DEGREE, self.gate[1]

    def order(self, **changes: Any) -> Json:
        """A job's body: one parcel, ready now, for a customer 2 km away."""
        lat, lon = self.north(2_000)
        body: Json = {
            "external_id": f"ORD-{uuid.uuid4().hex[:12]}",
            "pickup": {
                "mall": self.mall,
                "stores": [{"store": self.stores[0], "parcels": 1, "pickup_code": "7731"}],
                "window_end": soon(hours=2),
            },
            "dropoff": {
                "lat": lat,
                "lon": lon,
                "address": "1 Secret Street",
                "name": "Ada Private",
                "contact": "+1 602 555 0100",
                "note": "mind the hidden dog",
                "deadline": soon(hours=3),
            },
            "parcels": {"count": 1, "weight_g": 1500, "volume_l": 6},
            "pay": {"amount_minor": 1150, "currency": "USD"},
        }
        return body | changes


def read_place(url: str, token: str, market: str) -> Place:
    request = urllib.request.Request(
        f"{url}/v1/markets/{market}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=GUARD_S) as response:
        malls = json.load(response)["malls"]
    mall = next(mall for mall in malls if mall["id"] == "chandler-fashion-center")
    first, second = (store["id"] for store in mall["stores"][:2])
    gate = next(gate for gate in mall["gates"] if gate["id"] == mall["stores"][0]["gate"])
    return Place(market, mall["id"], (gate["lat"], gate["lon"]), (first, second))
