"""The types under which readers see the entries of a market's stream."""

from typing import Any

import pytest

from mallard_engine.contract.transitions import JOB_TRANSITIONS
from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_protocol.events import EventType
from mallard_protocol.lifecycle import JobState

T = EventType
CLOSINGS = ("returning", "delivered", "returned", "cancelled", "expired", "lost", "failed")


def entry(kind: str, what: str = "", **fields: Any) -> MarketEvent:
    driver = str(fields.get("driver", ""))
    return MarketEvent("phoenix", Place(1, 0), 1, kind, what, driver=driver, fields=fields)


def change(was: str, became: str, cause: str, **fields: Any) -> MarketEvent:
    return entry("job", **{"from": was, "to": became, "cause": cause}, **fields)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (change("", "queued", "submitted"), T.CREATED),
        (change("", "scheduled", "submitted"), T.CREATED),
        (change("assigned", "queued", "silent"), T.QUEUED),
        (change("queued", "scheduled", "mall_closes"), T.SCHEDULED),
        (change("queued", "scheduled", "held"), T.HELD),
        (change("scheduled", "scheduled", "held"), T.HELD),
        (change("assigned", "at_mall", "arrived"), T.ARRIVED),
        (change("queued", "picked_up", "custody"), T.PICKED_UP),
        *((change("picked_up", it, "x"), T(f"job.{it}")) for it in CLOSINGS),
        (change("returning", "picked_up", "turned_round"), T.TURNED_ROUND),
        (change("picked_up", "picked_up", "transferred"), T.TRANSFERRED),
        (change("returning", "returning", "custody"), T.TRANSFERRED),
        (change("queued", "queued", "ready_changed"), T.UPDATED),
        (change("queued", "a state to come", "x"), None),
        (entry("shop", "collected"), T.COLLECTED),
        (entry("shop", "missing"), T.UPDATED),
        (entry("shop", "short"), T.UPDATED),
        (entry("shop", "closed"), None),
        (entry("attempted", "refused"), T.ATTEMPTED),
        (entry("risk", **{"from": "none", "to": "late"}), T.RISK_CHANGED),
        (entry("eta"), T.ETA_CHANGED),
        (entry("updated"), T.UPDATED),
        (entry("moved"), T.DRIVER_MOVED),
        (entry("proof", "photo"), T.PROOF),
        (entry("problem", "missing"), T.PROBLEM),
        (entry("problem_answered", "missing"), T.UPDATED),
        (entry("problem_resolved", "missing"), T.PROBLEM_RESOLVED),
        (entry("transfer", "started"), T.TRANSFER_STARTED),
        (entry("cancel_requested"), T.UPDATED),
        (entry("offer", "declined"), None),
        (entry("at_door"), None),
        (entry("alert", "accident"), T.ALERT_RAISED),
        (entry("driver", "wake"), T.DRIVER_WAKE),
        (entry("driver", "suspended"), T.DRIVER_SUSPENDED),
        (entry("driver", "resumed"), T.DRIVER_RESUMED),
        (entry("driver", "registered"), None),
        (entry("driver", "connected", wish="offline"), None),
        (entry("driver", "connected", wish="available"), T.DRIVER_ONLINE),
        (entry("driver", "connected", wish="paused", again=1), None),
        (entry("driver", "disconnected", wish="available"), T.DRIVER_OFFLINE),
        (entry("driver", "disconnected", wish="offline"), None),
        (entry("driver", "available", was="offline"), T.DRIVER_ONLINE),
        (entry("driver", "available", was="paused"), None),
        (entry("driver", "offline", was="available"), T.DRIVER_OFFLINE),
        (entry("alert_acknowledged"), T.ALERT_ACKNOWLEDGED),
        (entry("market", "rewound"), T.MARKET_REWOUND),
        (entry("market", "paused"), T.MARKET_PAUSED),
        (entry("market", "resumed"), T.MARKET_RESUMED),
        (entry("policy", "changed"), T.POLICY_CHANGED),
        (entry("webhook", "disabled"), T.WEBHOOK_DISABLED),
        (entry("", ""), None),
    ],
)
def test_entry_has_the_type_of_the_contract(event: MarketEvent, kind: EventType | None) -> None:
    assert event.type == kind


def test_every_transition_is_one_event() -> None:
    for transition in JOB_TRANSITIONS:
        for source in transition.sources:
            event = change(source, transition.target, transition.cause)
            assert event.type is not None, transition
            assert event.state is transition.target


def test_report_is_its_drivers_and_a_risk_the_engines() -> None:
    assert entry("proof", "photo", driver="ann").actor == "ann"
    assert entry("risk", to="late", driver="ann").actor == "engine"
    assert entry("shop", "collected", driver="ann", actor="chandler/lego").actor == "chandler/lego"


def test_a_waiting_job_has_no_expected_times() -> None:
    assert change("queued", "offered", "offered").etas_ms == (None, None)
    assert change("offered", "assigned", "accepted", etas=[5, 0]).etas_ms == (5, None)
    # An older engine did not write them.
    assert change("offered", "assigned", "accepted").etas_ms is None
    assert entry("risk", state=JobState.QUEUED).etas_ms is None
