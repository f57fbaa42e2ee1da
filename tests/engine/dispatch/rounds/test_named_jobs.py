import pytest

from mallard_engine.dispatch.rounds.named_jobs import Named, NamedJobs

pytestmark = pytest.mark.finding("A7")


def test_retries_alone_start_a_partial_round() -> None:
    named = NamedJobs()
    named.note("", "a", driver=False)
    assert named.take() == Named((), ("a",), is_partial=True)
    named.note("b", "", driver=False)
    named.note("", "c", driver=False)
    assert named.take() == Named(("b",), ("c",), is_partial=False)


@pytest.mark.parametrize(("driver", "is_partial"), [(False, True), (True, False)])
def test_new_job_behind_many_starts_a_partial_round(*, driver: bool, is_partial: bool) -> None:
    named = NamedJobs()
    named.is_long = True
    named.note("a", "", driver=driver)
    assert named.take().is_partial is is_partial
    named.note("", "", driver=False)
    assert not named.take().is_partial


@pytest.mark.parametrize("is_long", [False, True])
def test_jobs_beyond_the_limit_remain_for_the_next_round(*, is_long: bool) -> None:
    named = NamedJobs()
    named.is_long = is_long
    for number in range(300):
        named.note(f"new-{number}", "", driver=False)
        named.note("", f"due-{number}", driver=False)
    first = named.take()
    assert first.jobs[255:257] == ("new-255", "due-0")
    assert len(named) == 88
    assert named.take() == Named(
        tuple(f"new-{number}" for number in range(256, 300)),
        tuple(f"due-{number}" for number in range(256, 300)),
        is_partial=is_long,
    )
    assert not named
