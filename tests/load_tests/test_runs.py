"""Whole runs, as an SRE starts them: locust in processes of its own, against real nodes."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from load_tests.credentials import Credentials
from mallard_engine.workload.nodes import running_nodes
from tests.support import port_for_later

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a secret that only these runs and their engine know"
ENGINE = {
    "MALLARD_SECRET": SECRET,
    "MALLARD_OPENING_HOURS": "off",
    "MALLARD_OFFER_TIMEOUT_MS": "800",
    "MALLARD_COOLDOWN_S": "0.5",
}
QUICK = ["--hold-s", "0.6", "--think-s", "0.1", "--grace-s", "2.5", "--spawn-rate", "100"]
LOCUST = [sys.executable, "-m", "locust", "-f", "load_tests/locustfile.py", "--headless"]

# Four runs start at once, each in several processes: on a busy machine that takes a minute.
_WITHIN_S = 200.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    status: int
    output: str
    folder: Path

    def rows(self) -> dict[str, dict[str, str]]:
        with (self.folder / "run_stats.csv").open(encoding="utf-8") as file:
            return {row["Name"]: row for row in csv.DictReader(file)}


Started = tuple[subprocess.Popen[str], Path]


def start(folder: Path, *command: str) -> Started:
    folder.mkdir()
    environment = {name: it for name, it in os.environ.items() if "MALLARD_" not in name}
    # Runs of parallel test workers must not meet on locust's usual port.
    port = str(port_for_later())
    environment |= {"LOCUST_MASTER_BIND_PORT": port, "LOCUST_MASTER_NODE_PORT": port}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, folder


def finished(started: Started) -> Run:
    process, folder = started
    output, _ = process.communicate(timeout=_WITHIN_S)
    return Run(process.returncode, output, folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All runs of these tests, at the same time: they mostly wait."""
    folder = tmp_path_factory.mktemp("load")
    minted = Credentials(secret=SECRET)
    tokens = folder / "tokens"
    tokens.write_text("\n".join(minted.driver(f"d-{n}", "phoenix").token for n in range(12)))
    with ExitStack() as stack:
        node, busy_node = stack.enter_context(running_nodes(2, folder, ENGINE))
        started = {
            "make load": start(
                folder / "a",
                *(
                    sys.executable,
                    "-m",
                    "load_tests.users.with_engine",
                    "--results",
                    str(folder / "a"),
                ),
                *("--seconds", "3", "--rate", "6", "--drivers", "40", "--shape", "mass-reconnect"),
                *("--slo", "offer latency:count>=5,failures<=0", "--slo", "reconnect:count>=40"),
                *("--processes", "2", "--csv", str(folder / "a" / "run"), "--lapse", "0"),
                *("--market", "phoenix"),
                *QUICK,
            ),
            "objective missed": start(
                folder / "b",
                *LOCUST,
                *("--host", node.url, "--driver-tokens", str(tokens), "--market", "phoenix"),
                *("--orders-token", minted.orders, "--operator-token", minted.operator),
                # So many that some are declined and some lapse, but for one run in a million.
                *("--users", "12", "--run-time", "6s", "--rate", "6"),
                *("--decline", "0.3", "--lapse", "0.3"),
                *("--slo", "offer latency:p50<1us", "--slo", "accept round trip:p99<5s"),
                *("--probe-every-s", "0.1", "--html", str(folder / "b" / "run.html")),
                *("--csv", str(folder / "b" / "run"), "--hgrm", str(folder / "b" / "hdr")),
                *QUICK,
            ),
            # Nothing listens on port 1. So many orders take a node and a market of their own.
            "a node is away": start(
                folder / "d",
                *LOCUST,
                *("--market", "las-vegas"),
                *("--host", busy_node.url, "--node", "http://127.0.0.1:1", "--tags", "orders"),
                *("--secret", SECRET, "--users", "1", "--run-time", "2s", "--rate", "450"),
                *("--slo", "POST /v1/jobs:count>=200,failures<1", "--spawn-rate", "100"),
            ),
            "not this machine": start(folder / "c", *LOCUST, "--host", "http://192.0.2.1:8000"),
        }
        for process, _ in started.values():
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield {name: finished(it) for name, it in started.items()}


def test_run_that_meets_its_objectives_ends_with_0(runs: dict[str, Run]) -> None:
    run = runs["make load"]
    assert run.status == 0, run.output
    assert "MISSED" not in run.output
    report = next(run.folder.glob("mass-reconnect-*.html"))
    assert "offer latency" in report.read_text(encoding="utf-8")


def test_measures_of_workers_add_up(runs: dict[str, Run]) -> None:
    """Each order's offer came to the worker that knows when it was ordered."""
    rows = runs["make load"].rows()
    posted = int(rows["POST /v1/jobs"]["Request Count"])
    assert posted > 0
    assert int(rows["offer latency"]["Request Count"]) == posted
    assert int(rows["reconnect"]["Request Count"]) >= 40


def test_missed_objective_is_shown_and_ends_the_run_with_1(runs: dict[str, Run]) -> None:
    run = runs["objective missed"]
    assert run.status == 1, run.output
    verdicts = [line for line in run.output.splitlines() if line.endswith(("met", "MISSED"))]
    assert len(verdicts) == 2, run.output
    assert "accept round trip" in verdicts[0]
    assert verdicts[0].endswith("met")
    assert "p50<1us" in verdicts[1]
    assert verdicts[1].endswith("MISSED")


def test_given_tokens_replace_the_secret_for_every_measure(
    runs: dict[str, Run],
) -> None:
    run = runs["objective missed"]
    rows = run.rows()
    assert rows.keys() >= {
        "POST /v1/jobs",
        "offer latency",
        "accept round trip",
        "location → visible",
        "reassign after decline",
        "reassign lateness",
    }, run.output
    for name in ("POST /v1/jobs", "offer latency", "accept round trip"):
        assert rows[name]["Failure Count"] == "0", (name, run.output)
    assert (run.folder / "run.html").stat().st_size > 0
    assert (run.folder / "hdr" / "offer-latency.hgrm").stat().st_size > 0


@pytest.mark.finding("D14")
def test_orders_go_to_another_node_while_one_is_away(runs: dict[str, Run]) -> None:
    run = runs["a node is away"]
    assert run.status == 0, run.output


def test_remote_machine_needs_permission(runs: dict[str, Run]) -> None:
    run = runs["not this machine"]
    assert run.status == 2, run.output
    assert "--allow-remote" in run.output
