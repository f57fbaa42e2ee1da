"""What an order service submits again after a loss of writes."""

import json
from datetime import UTC, datetime, timedelta

import msgspec

from mallard_client import Job, Outbox
from mallard_protocol.events import Event, EventType
from tests.clients.http_counterpart import a_job_resource

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDERS = {name: {"external_id": name} for name in ("old", "near", "new", "other")}


def job(made_s: float, market: str = "phoenix") -> Job:
    at = NOW + timedelta(seconds=made_s)
    fields = a_job_resource() | {"created_at": at.isoformat(), "market": market}
    return msgspec.json.decode(json.dumps(fields), type=Job)


def event(since_s: float, kind: str = EventType.MARKET_REWOUND) -> Event:
    since = (NOW + timedelta(seconds=since_s)).isoformat()
    return Event("e1", 1, kind, NOW, NOW, "phoenix", {"since": since})


def filled() -> Outbox:
    outbox = Outbox()
    outbox.add("old", ORDERS["old"], job(0))
    outbox.add("near", ORDERS["near"], job(57))
    outbox.add("other", ORDERS["other"], job(61, "las-vegas"))
    outbox.add("new", ORDERS["new"], job(62))
    return outbox


def test_orders_since_the_loss_are_to_be_submitted_again() -> None:
    assert filled().rewound(event(60)) == {"near": ORDERS["near"], "new": ORDERS["new"]}


def test_no_other_event_asks_for_anything() -> None:
    assert filled().rewound(event(0, EventType.MARKET_PAUSED)) == {}


def test_resubmitted_order_counts_from_its_new_job() -> None:
    outbox = filled()
    outbox.add("old", ORDERS["old"], job(90))
    assert outbox.rewound(event(80)) == {"old": ORDERS["old"]}


def test_old_orders_are_forgotten() -> None:
    outbox = filled()
    outbox.add("late", {}, job(3_601))
    assert len(outbox) == 4
    assert "old" not in outbox.rewound(event(-100))
