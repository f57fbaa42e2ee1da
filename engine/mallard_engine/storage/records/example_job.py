"""An example of an ended job: what stored jobs have in common.

It is the preset dictionary of packed jobs (`storage/records/packed_jobs.py`), which are unreadable
without it: it never changes. Other contents are another form of packed jobs.
"""

from collections.abc import Sequence
from typing import Final

from mallard_engine.storage.records.packing import pack

LAST_ROUND: Final = b"last round"
_AT: Final = 0x1A2_0000_0000
_CANDIDATE: Final = [
    *("driver-1", True, None, 149.6159, [["travel", 150.44], ["idle", -0.85], ["declines", 0.0]]),
    *(178, 1042, "west-dock", _AT, _AT, None, _AT),
]
_ORDER: Final = (
    b'{"kind":"store","text":"","reason":"","signature":"photo","on_short":"deliver","on_missing":'
    b'"cancel","on_undeliverable":"return","instructions":"","metadata":{"order":""},"proof_required"'
    b':["photo","code"],"service_level":"express","customer_ref":"","name":"","phone":"+","address":'
    b'"","note":"","unit":"","floor":"","leave_at_door":false,"age_check":true,"pin":"","pickup_code"'
    b':"","pay":{"amount_minor":0,"max_minor":0,"currency":"USD"},"pickup":{"mall":"-mall","stores":'
    b'[{"store":"","ready_at":"2026-11-29T18:22:57.106000Z","parcels":1},{"store":"","parcels":2}],'
    b'"window_end":"2026-11-30T18:22:43Z"},"dropoff":{"lat":36.02738,"lon":-115.209877,"deadline":'
    b'"2026-11-30T18:22:43Z"},"external_id":"ORDER-1","parcels":{"count":2,"weight_g":1400,'
    b'"volume_l":8.0},"requires":[],"priority":0,"hold_s":60}'
)
_NEED: Final = {
    "stores": [""],
    "ready_ms": _AT,
    "deadline_ms": _AT,
    "expires_ms": _AT,
    "lat": 36.0,
    "lon": -115.2,
    "parcels": 2,
    "weight_g": 1400,
    "volume_l": 8.0,
    "requires": [],
    "priority": 0,
    "created_ms": _AT,
    "pay_minor": 0,
    "pay_max_minor": 0,
    "store_ready_ms": [],
    "service": "",
    "service_level": "pooled",
    "jobs": 1,
    "done": [],
}
_CARD: Final = [
    [{"store": "", "name": "", "gate": "", "floor": 1, "ready_ms": _AT, "parcels": 2}],
    *({"lat": 36.0, "lon": -115.2, "deadline_ms": _AT}, {"count": 2, "weight_g": 1400}, [], 0),
]
_PROBLEM: Final = {
    "id": "p1",
    "told_ms": _AT,
    "at_ms": _AT,
    "state": "resolved",
    "driver": "",
    "until_ms": _AT,
    "reported_ms": _AT,
    "kind": "store_closed",
    "store": "",
    "text": "",
}
_RARE: Final = (
    b"not_ready missing partial refused customer_absent wrong_address accident unsafe unanswered "
    b"declined expired unacknowledged unassigned gave_up withdrawn busy silent custody released "
    b"returning returned cancelled failed lost at_door resume give_up operator engine customer "
    b"leave visited door at_place answer return_to return_code code_shown cancel_requested "
    b"cancelled_by cancel_reason cancel_note cancel_stage redelivery_of redelivered_as erased_ms "
    b"delivery_attempts proofs codes images problems reasons pay_minor risk transfer carries first "
    b"gone told kind code at_risk late photo signature age_checked value step delivered "
)
EXAMPLE: Final[Sequence[tuple[bytes, bytes]]] = (
    (b"", _RARE),
    (
        LAST_ROUND,
        pack(
            {
                "job": "job_",
                "round": 1,
                "at_ms": _AT,
                "radius_m": 7921,
                "capped": False,
                "candidates": [_CANDIDATE, _CANDIDATE],
                "run": ["job_"],
                "why": "free",
                "held_until_ms": 0,
                "policy": 0,
            }
        ),
    ),
    (b"proofs", pack([{"kind": "photo", "value": "proof_", "step": "delivered", "at_ms": _AT}])),
    (b"problems", pack([_PROBLEM])),
    (b"shops", pack([{"state": "collected", "holds": 1, "collected": 2, "store": ""}])),
    (b"reasons", pack([{"kind": "declined", "reason": "", "at_ms": _AT}])),
    (b"card", pack(_CARD)),
    (b"body", _ORDER),
    (b"need", pack(_NEED)),
    (b"asked", pack([["driver-1", 1, "accepted", _AT]])),
    (b"former", pack([["driver-1", 1]])),
    (b"occurred", pack([_AT, _AT, _AT])),
    (
        b"timeline",
        pack(
            [
                *(["scheduled", _AT, "engine", "held"], ["queued", _AT, "", "submitted"]),
                *(["offered", _AT, "engine", "offered"], ["assigned", _AT, "driver-1", "accepted"]),
                *(["at_mall", _AT, "driver-1", "arrived"],),
                *(["picked_up", _AT, "driver-1", "picked_up"],),
                *(["delivered", _AT, "driver-1", "delivered"],),
            ]
        ),
    ),
    (b"last_step", pack([1, _AT, _AT])),
    (b"id", b"job_"),
    *((name, b"1795976") for name in (b"told_eta_ms", b"promised_ms", b"deadline_ms")),
    *((name, b"1795976") for name in (b"expires_ms", b"release_ms", b"haul_ms", b"lead_ms")),
    *((name, b"1795976") for name in (b"eta_pickup_ms", b"eta_dropoff_ms")),
    *((name, b"") for name in (b"door", b"leave", b"visited", b"offer", b"reason", b"answer")),
    *((name, b"") for name in (b"at_place", b"return_to", b"handover_key", b"key", b"tracking")),
    *((b"priority", b"0"), (b"age_check", b"0"), (b"alerted_ms", b"-1"), (b"attempt", b"1")),
    *((b"demand", b"1400 8.0 "), (b"mall", b""), (b"market", b""), (b"service", b"")),
    *((b"external_id", b""), (b"driver", b"driver-1")),
)
