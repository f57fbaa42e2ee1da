"""The tables of transitions are complete and agree with the derived state of drivers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import pytest

from mallard_engine.contract.transitions import (
    DRIVER_TRANSITIONS,
    INITIAL,
    JOB_TRANSITIONS,
    may_move,
)
from mallard_protocol.lifecycle import (
    TERMINAL,
    DriverState,
    JobState,
    Wish,
    shown_state,
)

ARROWS = {(source, t.target) for t in JOB_TRANSITIONS for source in t.sources}


def reached_from(states: frozenset[JobState]) -> set[JobState]:
    reached = set(states)
    while more := {b for a, b in ARROWS if a in reached} - reached:
        reached |= more
    return reached


def test_every_job_state_can_be_reached() -> None:
    assert reached_from(INITIAL) == set(JobState)


def test_terminal_is_final() -> None:
    assert not [arrow for arrow in ARROWS if arrow[0] in TERMINAL]


@pytest.mark.parametrize("state", JobState)
def test_every_job_can_end(state: JobState) -> None:
    assert reached_from(frozenset({state})) & TERMINAL


def test_job_transitions_match_the_contract() -> None:
    waiting = {"scheduled", "queued", "offered"}
    before_pickup = waiting | {"assigned", "at_mall"}
    on_board = {"picked_up", "returning"}
    contract = {
        *(("scheduled", "queued"), ("queued", "offered"), ("offered", "assigned")),
        *(("assigned", "at_mall"), ("at_mall", "picked_up"), ("picked_up", "delivered")),
        *(("assigned", "picked_up"), ("offered", "queued")),
        *(("assigned", "queued"), ("at_mall", "queued")),
        *(("queued", "scheduled"), ("offered", "scheduled")),
        *(("assigned", "scheduled"), ("at_mall", "scheduled")),
        *(("picked_up", "returning"), ("returning", "picked_up"), ("returning", "returned")),
        *product(before_pickup, {"cancelled", "assigned", "picked_up", "failed"}),
        *product(waiting, {"expired"}),
        *product(on_board, {"returned", "delivered", "lost"}),
        *(("picked_up", "picked_up"), ("returning", "returning")),  # a transfer
    }
    assert contract == ARROWS
    for a, b in product(JobState, JobState):
        assert may_move(a, b) == ((a, b) in contract)


def test_no_transition_is_listed_twice() -> None:
    moves = [(source, t.cause, t.target) for t in JOB_TRANSITIONS for source in t.sources]
    assert len(moves) == len(set(moves))


@dataclass(frozen=True)
class Facts:
    """The stored fields of a driver that its shown state depends on."""

    wish: Wish = Wish.OFFLINE
    connected: bool = False
    offered: bool = False
    jobs: int = 0

    @property
    def shown(self) -> DriverState:
        return shown_state(
            wish=self.wish, connected=self.connected, offered=self.offered, jobs=self.jobs
        )


def single_changes(facts: Facts) -> Iterator[Facts]:
    """Yield each possible next event of a driver."""
    yield replace(facts, connected=not facts.connected)
    for wish in Wish:
        if wish is not Wish.OFFLINE:
            yield replace(facts, wish=wish)
        elif not facts.jobs:
            yield replace(facts, wish=wish, offered=False)
    if facts.offered:
        yield replace(facts, offered=False)
        yield replace(facts, offered=False, jobs=1)
    elif facts.connected and facts.wish is Wish.AVAILABLE:
        yield replace(facts, offered=True)
    yield replace(facts, jobs=1)
    yield replace(facts, jobs=0)


def test_driver_transitions_follow_shown_state() -> None:
    seen = {Facts()}
    to_visit = [Facts()]
    shown = set()
    while to_visit:
        facts = to_visit.pop()
        for after in single_changes(facts):
            if after.shown is not facts.shown:
                shown.add((facts.shown, after.shown))
            if after not in seen:
                seen.add(after)
                to_visit.append(after)
    assert shown == {(t.source, t.target) for t in DRIVER_TRANSITIONS}
    assert {state for pair in shown for state in pair} == set(DriverState)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (Facts(Wish.AVAILABLE, connected=True), DriverState.AVAILABLE),
        (Facts(Wish.PAUSED, connected=True), DriverState.PAUSED),
        (Facts(Wish.OFFLINE, connected=True), DriverState.OFFLINE),
        (Facts(Wish.AVAILABLE), DriverState.OFFLINE),
        (Facts(Wish.PAUSED), DriverState.OFFLINE),
        (Facts(Wish.AVAILABLE, offered=True), DriverState.OFFERED),
        (Facts(Wish.PAUSED, connected=True, offered=True), DriverState.OFFERED),
        (Facts(Wish.AVAILABLE, connected=True, offered=True, jobs=1), DriverState.ON_RUN),
        (Facts(Wish.PAUSED, jobs=2), DriverState.ON_RUN),
    ],
)
def test_shown_state_is_derived(facts: Facts, shown: DriverState) -> None:
    assert facts.shown is shown
