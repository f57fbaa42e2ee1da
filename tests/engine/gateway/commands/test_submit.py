import asyncio
import io
import json
import os
import sys
from pathlib import Path

import pytest

from mallard_engine.cli.commands.submit import read_jobs
from mallard_engine.cli.main import main
from mallard_engine.input_files import InputError
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.http_support import Caller, order


def test_file_holds_one_job_or_several() -> None:
    assert read_jobs('{"a": 1}') == [{"a": 1}]
    assert read_jobs('[{"a": 1}, {"b": 2}]') == [{"a": 1}, {"b": 2}]
    assert read_jobs('{"a": 1}\n\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]
    for text in ("", "[]", "7", "[7]", '{"a": 1}\nx'):
        with pytest.raises(InputError):
            read_jobs(text)


async def test_jobs_are_posted_and_refused_ones_reported(
    node: RunningNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MALLARD_SECRET", "s" * 32)
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join(json.dumps(it) for it in (order(), order(priority=-1), order())))
    flags = ["--url", node.url, "--service", "shop", "--data", str(tmp_path)]
    assert await asyncio.to_thread(main, ["submit", str(file), *flags]) == 1
    output = capsys.readouterr()
    printed = [line.split() for line in output.out.splitlines()]
    assert [state for _, state in printed] == ["queued", "queued"]
    assert "job 2: 422 invalid_fields\n  /priority: " in output.err
    listed = (await Caller(node, "shop").get("/v1/jobs")).json()["items"]
    assert {job["id"] for job in listed} == {job for job, _ in printed}

    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(order())))
    assert await asyncio.to_thread(main, ["submit", "-", *flags]) == 0


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    assert main(["submit", str(tmp_path / "none.json"), "--data", str(tmp_path)]) == 2


@pytest.mark.finding("E")
async def test_submit_stops_on_a_closed_output(node: RunningNode, tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join(json.dumps(order()) for _ in range(5)))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mallard_engine", "submit", str(file)),
            *("--url", node.url, "--service", "shop", "--data", str(tmp_path)),
            env=os.environ | {"MALLARD_SECRET": "s" * 32},
            stdout=writer,
            stderr=asyncio.subprocess.PIPE,
        )
        _, output = await process.communicate()
    finally:
        os.close(writer)
    assert process.returncode == 1
    (line,) = output.decode().splitlines()
    assert "stopped after job 1 of 5, which is posted" in line
    assert len((await Caller(node, "shop").get("/v1/jobs")).json()["items"]) == 1
