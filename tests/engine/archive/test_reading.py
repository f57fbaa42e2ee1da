"""A replay reads the files of an archive as it reads a recording."""

from datetime import date

import pytest

from mallard_engine.input_files import InputError
from mallard_engine.simulation.recordings.archived import is_archive, read_archive
from mallard_engine.simulation.recordings.recording import record
from mallard_engine.simulation.recordings.replay import as_it_was
from mallard_protocol.lifecycle import Step
from tests.engine.archive.archives import BODY, Archive
from tests.engine.storage.worlds import MARKET, World


async def test_archive_replays_the_statistics_of_the_day(world: World, archive: Archive) -> None:
    await world.driver()
    for _ in range(2):
        await archive.delivered()
        await world.pass_ms(60_000)
    await archive.cancelled()
    await archive.once(segment_bytes=1)
    live = await record(world.url, MARKET)
    read = read_archive(archive.folder, None, None)
    assert read.market == MARKET
    assert read.jobs == live.jobs
    assert as_it_was(read) == as_it_was(live)
    assert as_it_was(read).orders == 2
    assert is_archive(archive.folder)


async def test_last_line_counts_with_all_events(world: World, archive: Archive) -> None:
    await world.driver()
    ref, attempt = await world.picked_up(body=BODY)
    for step in (Step.RETURNING, Step.RETURNED):
        await world.step(ref, step, attempt)
    await archive.once()
    before = read_archive(archive.folder, None, None)
    await world.store.jobs.submit(world.submission(body=BODY, redelivery_of=ref.job))
    await archive.once()
    assert len(archive.ids()) == 2
    assert read_archive(archive.folder, MARKET, None) == before


async def test_unfinished_last_line_is_left_out(world: World, archive: Archive) -> None:
    await archive.cancelled()
    await archive.once()
    before = read_archive(archive.folder, None, None)
    (path,) = archive.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(path.read_bytes()[:-30])
    assert is_archive(path)
    assert read_archive(path, None, None) == before


async def test_day_chooses_jobs_by_their_submission(world: World, archive: Archive) -> None:
    (first,) = await archive.cancelled()
    await world.pass_ms(86_400_000)
    (second,) = await archive.cancelled()
    await archive.once()
    assert set(read_archive(archive.folder, None, date(2027, 1, 15)).jobs) == {first}
    assert set(read_archive(archive.folder, None, date(2027, 1, 16)).jobs) == {second}
    await world.redis.flushall()  # the events of the first day are trimmed at a time of their own


async def test_jobs_of_two_markets_need_a_choice(world: World, archive: Archive) -> None:
    (job,) = await archive.cancelled()
    await archive.once()
    (path,) = archive.folder.glob("*.jsonl")
    text = path.read_bytes()
    path.write_bytes(text + text.replace(b"phoenix", b"tucson"))
    with pytest.raises(InputError, match="name one with --market"):
        read_archive(archive.folder, None, None)
    assert set(read_archive(archive.folder, MARKET, None).jobs) == {job}
