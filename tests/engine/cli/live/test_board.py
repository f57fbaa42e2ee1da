"""What the page of `mallard watch` shows, and that it fits."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mallard_engine.cli.live.board import Board
from mallard_engine.cli.live.board_page import finding_line, line, page
from mallard_engine.cli.live.tables import duration
from mallard_protocol.control import AlertView, NodeView
from mallard_protocol.events import Event
from mallard_protocol.resources import Job

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def fields(job: str, state: str, **more: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "id": job,
        "market": "phoenix",
        "state": state,
        "terminal": state in {"delivered", "cancelled"},
        "attempt": 1,
        "driver": None,
        "reason": None,
        "created_at": at(-300).isoformat(),
        "updated_at": at(-200).isoformat(),
        "expires_at": at(3600).isoformat(),
        "eta": {"pickup": None, "dropoff": None},
        "timeline": [{"state": state, "at": at(-200).isoformat(), "actor": "a", "cause": "b"}],
        "pickup": {"mall": "mall-1", "stores": [], "window_end": at(1).isoformat()},
        "dropoff": {"lat": 1.0, "lon": 2.0, "deadline": at(600).isoformat()},
        "parcels": {"count": 1, "weight_g": 1, "volume_l": 1.0},
        "requires": [],
        "priority": 0,
        "risk": "none",
    } | more


def listed(job: str, state: str, **more: Any) -> Job:
    return msgspec.convert(fields(job, state, **more), Job)


_sequence = iter(range(1, 10_000))


def event(
    job: str, state: str, kind: str | None = None, sequence: int | None = None, **more: Any
) -> Event:
    return Event(
        id="e",
        sequence=sequence or next(_sequence),
        type=kind or f"job.{state}",
        occurred_at=NOW,
        recorded_at=NOW,
        market="phoenix",
        data=fields(job, state, **more),
        job=job,
    )


@pytest.fixture
def board() -> Board:
    return Board("phoenix", at(-30))


def test_events_move_a_job_through_its_states(board: Board) -> None:
    for state in ("created", "offered", "assigned", "delivered"):
        shown = "queued" if state == "created" else state
        board.apply(event("j1", shown, f"job.{state}"))
        assert board.counts() == Counter([] if state == "delivered" else [shown])
    assert board.ended == {"delivered": 1}
    assert board.rates(NOW) == {
        "orders": 2.0, "offers": 2.0, "assigned": 2.0, "delivered": 2.0, "requeued": 0.0,
    }  # fmt: skip
    assert board.rates(at(120))["orders"] == 0


def test_repeated_and_old_events_change_nothing(board: Board) -> None:
    board.apply(event("j1", "assigned", sequence=7))
    board.apply(event("j1", "queued", "job.created", sequence=3))
    assert board.counts() == {"assigned": 1}
    for _ in range(2):
        board.apply(event("j1", "delivered", sequence=9))
    board.apply(event("j1", "assigned", sequence=7))
    assert (board.counts(), board.ended) == (Counter(), {"delivered": 1})
    assert board.rates(NOW)["delivered"] == 2.0


def test_list_read_late_brings_no_ended_job_back(board: Board) -> None:
    board.apply(event("j1", "delivered"))
    board.apply(event("j2", "assigned"))
    board.add_jobs([listed("j1", "assigned"), listed("j2", "queued"), listed("j3", "queued")])
    assert board.counts() == {"assigned": 1, "queued": 1}
    board.add_jobs([listed("j3", "queued")], all_of_them=True)
    assert set(board.jobs) == {"j3"}


def test_position_and_unknown_event_change_nothing(board: Board) -> None:
    moved = Event("e", 5, "job.driver_moved", NOW, NOW, "phoenix", {"lat": 1.0}, job="j1")
    board.apply(moved)
    board.apply(Event("e", 6, "moon.full", NOW, NOW, "phoenix", {}))
    board.apply(Event("e", 7, "job.sung", NOW, NOW, "phoenix", {"id": "j1"}, job="j1"))
    assert not board.jobs


def exceptions(board: Board) -> None:
    board.alerts = [AlertView("a1", "phoenix", "accident", "open", at(-65), driver="d-9")]
    held = {"why": "missing", "place": "store", "store": "lego", "until": at(120).isoformat()}
    for job in (
        listed("waits", "queued", external_id="X-1"),
        listed("new", "queued", created_at=at(-5).isoformat()),
        listed("held", "scheduled", held=held),
        listed("risky", "assigned", risk="at_risk", driver="d-2"),
        listed("later", "assigned", risk="late", driver="d-3"),
        listed(
            "latest", "picked_up", risk="late", dropoff={"lat": 1, "lon": 1, "deadline": at(-61)}
        ),
    ):
        board.add_jobs([job])


def test_exceptions_come_in_the_order_of_their_urgency(board: Board) -> None:
    exceptions(board)
    found = board.findings(NOW)
    assert [(it.kind, it.id) for it in found] == [
        ("alert", "a1"),
        ("late", "latest"),
        ("late", "later"),
        ("at_risk", "risky"),
        ("held", "held"),
        ("unassigned", "waits"),
    ]
    assert found[0].what == "accident, 1 m 5 s ago"
    assert found[1].what == "overdue by 1 m 1 s"
    assert found[4].what == "missing, for 2 m 0 s more"
    assert found[5].what == "for 5 m 0 s"
    assert "X-1" in finding_line(found[5], NOW)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (40, 12), (20, 5), (1, 1)])
@pytest.mark.parametrize("jobs", [0, 1, 13, 14, 15, 300])
def test_page_fits_any_terminal(board: Board, width: int, height: int, jobs: int) -> None:
    exceptions(board)
    board.nodes = [
        NodeView(f"node-{n}", "http://h:1", "serving", "1", at(-90), NOW, 3) for n in range(9)
    ]
    board.add_jobs([listed(f"job_phoenix.{n:026}", "queued") for n in range(jobs)])
    lines = page(board, NOW, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert all(len(it.splitlines()) <= 1 for it in lines)


def test_page_says_how_many_exceptions_it_leaves_out(board: Board) -> None:
    board.add_jobs([listed(f"job_phoenix.{n:026}", "queued") for n in range(50)])
    lines = page(board, NOW, 80, 24)
    shown = sum(each.startswith("unassigned") for each in lines)
    assert lines[-1].startswith(f"and {50 - shown} more")
    assert len(page(board, NOW)) > 50


def test_unreachable_engine_is_shown_on_the_page_and_in_lines(board: Board) -> None:
    board.trouble, board.silent_since = "refused", at(-12)
    assert "NO ANSWER for 12 s: refused" in page(board, NOW, 80, 24)[0]
    assert "NO ANSWER for 12 s: refused" in line(board, NOW)


def test_line_names_what_there_is_alone(board: Board) -> None:
    board.drivers = Counter({"available": 2})
    text = line(board, NOW)
    assert "jobs: none open; drivers: 2 available" in text
    assert "nodes: none; exceptions: none" in text


def test_duration_has_two_units() -> None:
    assert [duration(it) for it in (0, 59.9, 61, 3600, 90_000, -5)] == [
        "0 s", "59 s", "1 m 1 s", "1 h 0 m", "1 d 1 h", "-5 s",
    ]  # fmt: skip
