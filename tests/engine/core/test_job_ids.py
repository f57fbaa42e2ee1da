from secrets import randbits

import pytest

from mallard_engine.core.job_ids import is_job_id, is_ulid, market_of_job, new_job_id, ulid_of_job

NOW_MS = 1_800_000_000_000


def test_job_id_names_its_market() -> None:
    job = new_job_id("northern-virginia", NOW_MS, randbits(80))
    assert job.startswith("job_northern-virginia.01")
    assert is_job_id(job)
    assert market_of_job(job) == "northern-virginia"
    assert is_ulid(ulid_of_job(job))
    assert len(job) <= 64


def test_ids_sort_by_time_and_are_unique() -> None:
    made = [new_job_id("phoenix", NOW_MS + n, randbits(80)) for n in range(100)]
    assert made == sorted(made)
    assert len({new_job_id("phoenix", NOW_MS, randbits(80)) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job_",
        "job_phoenix",
        "job_phoenix.",
        "job_phoenix.01J",
        "phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
        "job_phoenix.01arz3ndektsv4rrffq69g5fav",
        "job_phoenix.81ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_{phoenix}.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_*.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_" + "x" * 10_000 + ".01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_malformed_job_id_is_refused(text: str) -> None:
    assert not is_job_id(text)


@pytest.mark.parametrize("text", ["", "job_", "job_phoenix", "phoenix.01J"])
def test_text_without_market_names_none(text: str) -> None:
    assert market_of_job(text) is None
