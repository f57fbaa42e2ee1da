"""`mallard replay`: a market's stream recorded, read back, and replayed under another policy."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mallard_engine.cli.main import main
from mallard_engine.core.places.markets import Places
from mallard_engine.simulation.recordings.recording import read_recording
from mallard_engine.simulation.recordings.replay import as_it_was, scenario_of
from mallard_engine.simulation.reports.day_statistics import statistics_of
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Day
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.workload.demand import Demand

MALL = "chandler-fashion-center"
_NOON = "2026-11-29T12:00:00Z"
ARCHIVED = (
    msgspec.json.encode(
        {
            "format": "mallard archive 1",
            "id": "job_phoenix.1",
            "market": "phoenix",
            "mall": MALL,
            "created_at": _NOON,
            "need": {
                **dict.fromkeys(("ready_at", "deadline", "expires_at"), _NOON),
                "stores": ["lego"],
                "lat": 33.3,
                "lon": -111.9,
            },
            "attempts": [],
            "events": [],
        }
    )
    + b"\n"
)


@pytest.fixture
def live(redis_url: str) -> Day:
    """A day of a market whose drivers refuse a third of their offers, left in the store."""
    places = Places.load(opening_hours=False)
    scenario = mallday.scenario_of(
        places,
        Demand(places, []),
        replace(mallday.default_policy(), round="instant"),
        mall=MALL,
        parcels=10,
        drivers=20,
        seed=3,
    )
    shifts = tuple(replace(shift, acceptance=0.67) for shift in scenario.shifts)
    return simulate(replace(scenario, shifts=shifts, answer_ms=4_000, sweep_s=30.0), redis_url)


@pytest.fixture
def file(live: Day, redis_url: str, tmp_path: Path) -> Path:
    path = tmp_path / "day.jsonl"
    market = live.scenario.market
    assert main(["replay", "record", str(path), "--market", market, "--redis", redis_url]) == 0
    return path


def test_recorded_day_matches_and_can_be_replayed(live: Day, file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    recording = read_recording(file)
    assert len(recording.events) == len(live.events)
    was, output = as_it_was(recording), statistics_of(live)
    assert was.orders == output.orders
    assert was.undelivered_percent == pytest.approx(output.undelivered_percent)
    assert was.wait_mean == pytest.approx(output.wait_mean, abs=0.05)
    assert was.click_to_door_mean == pytest.approx(output.click_to_door_mean, abs=0.05)
    assert was.offers_per_order == pytest.approx(output.offers_per_order)
    policy = live.scenario.policy
    scenario = scenario_of(recording, live.scenario.places, policy)
    assert len(scenario.orders) == len(live.scenario.orders)
    assert scenario.answer_ms == 4_000
    worked = {shift.driver for shift in live.scenario.shifts}
    assert {shift.driver for shift in scenario.shifts} <= worked
    refusing = [shift.acceptance for shift in scenario.shifts]
    assert 0.3 < sum(refusing) / len(refusing) < 0.95
    again = scenario_of(recording, live.scenario.places, policy)
    assert (again.orders, again.shifts) == (scenario.orders, scenario.shifts)


@pytest.mark.parametrize(
    ("flags", "text", "message"),
    [
        (["--day", "2020-01-01"], None, "there is no job in it of 2020-01-01"),
        (["--market", "atlantis"], None, "there is no job in it"),
        ([], b"{}\n", "line 2: Object missing required field"),
        ([], b"\xff\n", "line 2:"),
        (["--day", "yesterday"], None, "is not a date such as"),
    ],
)
def test_unusable_archive_is_reported(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    text: bytes | None,
    message: str,
) -> None:
    (tmp_path / "jobs-2026-11-29-0001.jsonl").write_bytes(ARCHIVED + (text or b'{"form'))
    try:
        status = main(["replay", "day", str(tmp_path), *flags])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_days_and_markets_are_for_archives(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "day", str(file), "--day", "2026-11-29"]) == 2
    assert "this is not one" in capsys.readouterr().err


@pytest.mark.slow
def test_replay_compares_another_policy(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    command = ["replay", "day", str(file), "--set", "round=batch", "--json", str(figures)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "difference" in said
    assert "assumed" in said
    assert "Compare the two replayed columns" in " ".join(said.split())
    days = json.loads(figures.read_text())["days"]
    assert list(days) == ["as it was", "replayed", "other policy"]
    assert all(day["orders"] == 10 for day in days.values())
    assert days["as it was"]["km_per_order"] is None


@pytest.mark.slow
def test_replay_alone_names_no_second_replay(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "day", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "difference" not in said
    assert "Compare the two" not in said
    assert "--set" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no job in it"),
        ('{"format": "another"}\n', "not a recording"),
        ("{\n", "line 1:"),
    ],
)
def test_invalid_input_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    assert main(["replay", "day", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert main(["replay", "day", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_record_without_a_store_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MALLARD_REDIS_URL", "redis://127.0.0.1:1")
    assert main(["replay", "record", str(tmp_path / "day"), "--market", "phoenix"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
