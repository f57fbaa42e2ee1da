"""The groups of states and outcomes are complete."""

from mallard_protocol.lifecycle import (
    BEFORE_PICKUP,
    HELD,
    NOT_ASKED_AGAIN,
    NOT_ASKED_FOR_A_WHILE,
    ON_BOARD,
    TERMINAL,
    JobState,
    Outcome,
)


def test_state_groups_partition_the_states() -> None:
    assert set(JobState) == BEFORE_PICKUP | ON_BOARD | TERMINAL
    assert len(BEFORE_PICKUP) + len(ON_BOARD) + len(TERMINAL) == len(JobState)
    assert {JobState.ASSIGNED, JobState.AT_MALL} | ON_BOARD == HELD


def test_outcomes_that_exclude_a_driver() -> None:
    assert not NOT_ASKED_AGAIN & NOT_ASKED_FOR_A_WHILE
    assert set(Outcome) - NOT_ASKED_AGAIN - NOT_ASKED_FOR_A_WHILE == {
        Outcome.ACCEPTED,
        Outcome.WITHDRAWN,
        Outcome.HELD,
    }
