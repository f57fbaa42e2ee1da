"""Which endpoints get which events of a market."""

from typing import Any

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.webhooks.endpoints import Endpoint
from mallard_engine.gateway.webhooks.fan_out import wanted_of


def endpoint(name: str, service: str | None, **fields: Any) -> Endpoint:
    return Endpoint(name, name, service, "https://x.example", (), (), "", (), 0, 0, **fields)


def event(n: int, kind: str, what: str = "", service: str = "", **fields: Any) -> MarketEvent:
    job = f"job{n}" if kind == "job" else ""
    return MarketEvent("phoenix", Place(1_000, n), 1_000, kind, what, job, service, fields=fields)


CREATED = {"from": "", "to": "queued"}
TOYS, BOOKS, OPERATOR = endpoint("t", "toys"), endpoint("b", "books"), endpoint("o", None)


def test_event_goes_to_its_service_and_to_operators() -> None:
    events = [event(0, "job", service="toys", **CREATED), event(1, "job", service="x", **CREATED)]
    chosen, wanted = wanted_of(events, [TOYS, BOOKS, OPERATOR])
    assert chosen == events
    assert wanted == {"t": [0], "o": [0, 1]}


def test_lost_writes_go_to_every_endpoint() -> None:
    _, wanted = wanted_of([event(0, "market", "rewound")], [TOYS, BOOKS, OPERATOR])
    assert wanted == {"t": [0], "b": [0], "o": [0]}


def test_event_that_concerns_no_service_goes_to_operators_alone() -> None:
    _, wanted = wanted_of([event(0, "driver", "suspended")], [TOYS, endpoint("e", ""), OPERATOR])
    assert wanted == {"o": [0]}


def test_event_before_an_endpoint_is_not_for_it() -> None:
    late = endpoint("l", "toys", since_ms=1_001)
    _, wanted = wanted_of([event(0, "job", service="toys", **CREATED)], [TOYS, late])
    assert wanted == {"t": [0]}


def test_event_without_an_endpoint_is_left_out() -> None:
    events = [event(0, "driver", "beat"), event(1, "job", service="toys", **CREATED)]
    chosen, wanted = wanted_of(events, [TOYS])
    assert chosen == events[1:]
    assert wanted == {"t": [0]}
