"""A small `mallard demo`: whole processes, a killed node, and an audit that must hold."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.redis_kinds import KIND, redis_of_kind
from tests.support import GUARD_S

_LINK = re.compile(r"(http://\S+)/(console|shop|driver)#(\S{24})")


@pytest.mark.slow
def test_demo_with_killed_node_passes_its_audit(tmp_path: Path, redis_binary: Path | None) -> None:
    if not KIND:
        _run_demo(tmp_path, [])
        return
    store = redis_of_kind(redis_binary)
    with store:
        _run_demo(tmp_path, ["--redis", store.url])


def _run_demo(tmp_path: Path, where: list[str]) -> None:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("mallard"), "demo", "--kill-node"),
            *("--seconds", "4", "--rate", "4", "--drivers", "60"),
            *where,
        ],
        # Without the datasets: orders from anywhere near the malls.
        env=inherited | {"MALLARD_DATASETS": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no ZIP table" in done.stdout
    assert "node-2 killed" in done.stdout
    assert "nothing lost, nothing doubled, nothing breached" in done.stdout


@pytest.mark.slow
def test_demo_that_stays_prints_links_that_sign_in(tmp_path: Path) -> None:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    output = tmp_path / "demo.log"
    with output.open("w") as log:
        demo = subprocess.Popen(
            [
                *(Path(sys.executable).with_name("mallard"), "demo", "--stay"),
                *("--rate", "2", "--drivers", "10"),
            ],
            env=inherited | {"MALLARD_DATASETS": str(tmp_path)},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        deadline_s = time.monotonic() + 60
        while len(links := _LINK.findall(output.read_text())) < 3:
            assert demo.poll() is None, output.read_text()
            assert time.monotonic() < deadline_s, output.read_text()
            time.sleep(0.1)
        assert [page for _, page, _ in links] == ["console", "shop", "driver"]
        for address, page, code in links:
            assert urlopen(f"{address}/{page}").status == 200
            request = Request(
                f"{address}/v1/session/exchange",
                json.dumps({"code": code}).encode(),
                {"Content-Type": "application/json"},
            )
            assert json.load(urlopen(request))["token"]
    finally:
        demo.send_signal(signal.SIGINT)
        status = demo.wait(GUARD_S)
    # Ctrl-C is how it ends, not an error.
    assert status == 0
    assert "interrupted" not in output.read_text()
    assert "orders a second until Ctrl-C" in " ".join(output.read_text().split())
