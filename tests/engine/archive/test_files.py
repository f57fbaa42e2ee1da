"""The files of the archive: rotation, crashes within a line, folders that cannot be written."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.archive.files import FileArchive
from mallard_engine.archive.segments import segments_of
from mallard_engine.archive.targets import TargetUnavailable
from tests.engine.archive.archives import Archive
from tests.engine.storage.worlds import World


async def test_files_are_their_owners_only(world: World, archive: Archive) -> None:
    await archive.cancelled()
    await archive.once()
    (path,) = segments_of(archive.folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.folder.stat().st_mode) == 0o700


async def test_full_segment_is_followed_by_another(world: World, archive: Archive) -> None:
    jobs: list[str] = []
    for _ in range(4):
        jobs += await archive.cancelled()
        await archive.once(segment_bytes=1)
    assert [path.name[-10:] for path in segments_of(archive.folder)] == [
        f"{number:04}.jsonl" for number in (1, 2, 3, 4)
    ]
    assert archive.ids() == jobs


async def test_segment_of_an_earlier_day_is_not_appended_to(world: World, archive: Archive) -> None:
    archive.folder.mkdir()
    (archive.folder / "jobs-2020-01-01-0007.jsonl").write_bytes(b"")
    await archive.cancelled()
    await archive.once()
    old, new = segments_of(archive.folder)
    assert old.stat().st_size == 0
    assert new.name.endswith("-0001.jsonl")


async def test_clock_set_back_keeps_the_order_of_segments(world: World, archive: Archive) -> None:
    archive.folder.mkdir()
    (archive.folder / "jobs-2999-01-01-0007.jsonl").write_bytes(b"")
    await archive.cancelled()
    await archive.once()
    assert [path.name for path in segments_of(archive.folder)] == ["jobs-2999-01-01-0007.jsonl"]
    assert len(archive.ids()) == 1


@pytest.mark.parametrize("cut", [1, 100, 70_000])
async def test_unfinished_line_is_cut_off_and_written_again(
    world: World, archive: Archive, cut: int
) -> None:
    jobs = await archive.cancelled(2)
    await archive.once()
    (path,) = segments_of(archive.folder)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "job_x", "x": "' + b"x" * cut)
    jobs = [*jobs, *await archive.cancelled()]
    await archive.once()
    assert path.read_bytes().startswith(whole)
    assert archive.ids() == list(jobs)


async def test_batch_cut_short_by_a_crash_is_completed(world: World, archive: Archive) -> None:
    jobs = await archive.cancelled(3)
    await archive.register()
    await archive.once()
    (path,) = segments_of(archive.folder)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + 40])
    await archive.queue.remove("phoenix")  # the jobs are delivered again
    await archive.once()
    assert sorted(archive.ids()) == sorted(jobs)
    assert path.read_bytes().startswith(whole[:first])


async def test_second_process_is_refused(archive: Archive) -> None:
    first, second = archive.files(), archive.files()
    await first.open()
    with pytest.raises(TargetUnavailable, match="another"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def test_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(TargetUnavailable, match=r"file: File exists"):
        await FileArchive(path, 1).open()
    with pytest.raises(TargetUnavailable, match="Not a directory"):
        await FileArchive(path / "below", 1).open()


async def test_full_disk_loses_nothing(
    world: World, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [*await archive.cancelled()]
    await archive.once()
    jobs += await archive.cancelled(2)
    really_write, room = os.write, [1]

    def write(file: int, data: Any) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room.pop()
        return really_write(file, data[:100])

    with monkeypatch.context() as patch:
        patch.setattr("mallard_engine.archive.files.os.write", write)
        with pytest.raises(TargetUnavailable, match=r"\.jsonl: No space left on device"):
            await archive.once()
    assert archive.ids() == jobs[:1]
    assert set(await archive.waiting()) == set(jobs[1:])
    await archive.once()
    assert archive.ids() == jobs


async def test_failed_sync_is_written_again(
    world: World, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.cancelled()
    await archive.once()
    jobs = [*archive.ids(), *await archive.cancelled()]
    files = archive.files()
    await files.open()
    exporter = archive.exporter(files)
    await exporter.begin()

    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("mallard_engine.archive.files.os.fsync", failing)
        with pytest.raises(TargetUnavailable, match="Input/output error"):
            await exporter.step(patient=False)
    while await exporter.step(patient=False):
        pass
    await files.close()
    assert archive.ids() == jobs


async def test_line_that_cannot_be_read_is_passed_over(world: World, archive: Archive) -> None:
    await archive.cancelled()
    await archive.once()
    (path,) = segments_of(archive.folder)
    before = path.read_bytes()
    path.write_bytes(b"\xff{\n" + before)
    await archive.cancelled()
    assert await archive.once() == 1
    assert path.read_bytes().startswith(b"\xff{\n" + before)
