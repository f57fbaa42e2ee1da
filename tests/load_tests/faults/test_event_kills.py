"""Nodes and Redis are killed while a service listens; see load_tests/faults/event_kills.py."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from load_tests.faults.event_kills import main
from load_tests.faults.heard import Heard, judge
from mallard_protocol.events import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIVED = [{"state": state} for state in ("queued", "offered", "assigned")]


def event(sequence: int, kind: str, job: str = "a", **data: Any) -> Event:
    at = NOW + timedelta(seconds=sequence)
    return Event(f"e{sequence}", sequence, kind, at, at, "phoenix", data, job=job)


def heard(*events: Event) -> Heard:
    found = Heard()
    for each in events:
        found.take(each)
    return found


STORY = (event(1, "job.created"), event(2, "job.offered"), event(3, "job.assigned"))


def test_whole_story_passes_in_any_order_and_with_repeats() -> None:
    assert judge(heard(STORY[2], STORY[0], STORY[1], STORY[1]), {"a": LIVED}) == []


@pytest.mark.parametrize(
    "events",
    [
        STORY[:2],
        (*STORY, event(4, "job.delivered")),
        (*STORY, event(4, "job.created", job="b")),
    ],
    ids=["missed", "invented", "invented job"],
)
def test_missed_or_invented_event_fails(events: tuple[Event, ...]) -> None:
    assert judge(heard(*events), {"a": LIVED})


def test_change_that_was_declared_lost_is_not_invented() -> None:
    rewound = event(9, "market.rewound", since=(NOW + timedelta(seconds=4)).isoformat())
    assert judge(heard(*STORY, event(5, "job.delivered"), rewound), {"a": LIVED}) == []


def test_change_after_the_loss_is_not_excused_by_it() -> None:
    rewound = event(9, "market.rewound", since=(NOW + timedelta(seconds=4)).isoformat())
    assert judge(heard(*STORY, rewound, event(10, "job.delivered")), {"a": LIVED})


@pytest.mark.slow
def test_every_change_arrives_while_nodes_and_store_are_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Orders by stream and by webhook; `make hears-all` is the same with 10,000 jobs."""
    status = main(["--drivers", "20", "--jobs", "120", "--kills", "4", "--open", "20"])
    assert status == 0, capsys.readouterr().out
