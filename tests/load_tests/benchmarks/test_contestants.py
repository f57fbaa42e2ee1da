import pytest

from load_tests.benchmarks.contestants import OURS, Contestant, ContestantFailed, running, versions

BRUTE_FORCE = "load_tests.benchmarks.match.brute_force"


def test_contestant_ends_on_an_unknown_question() -> None:
    with (
        Contestant("floor", BRUTE_FORCE) as floor,
        pytest.raises(ContestantFailed, match="floor ended when it was asked to dance"),
    ):
        floor.ask("dance")


def test_stopped_contestant_cannot_be_asked() -> None:
    floor = Contestant("floor", BRUTE_FORCE)
    with pytest.raises(ContestantFailed, match="does not run"):
        floor.ask("race")
    with running([floor]):
        pass
    with pytest.raises(ContestantFailed, match="does not run"):
        floor.ask("race")
    assert versions([floor]) == {}


def test_hanging_contestant_is_killed() -> None:
    with (
        Contestant("ours", OURS, answer_within_s=1.0) as ours,
        pytest.raises(ContestantFailed, match="ours ended"),
    ):
        ours.ask("call", at_once=1, calls=100_000_000)
