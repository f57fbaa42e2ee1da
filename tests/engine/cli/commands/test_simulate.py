"""`mallard simulate`: what it writes, and what it says to what is wrong."""

import json
from pathlib import Path

import pytest

from mallard_engine.cli.main import main
from tests.engine.simulation.feasibility import breaches
from tests.engine.simulation.instances import write_instance


def test_two_instances_give_solutions_and_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    towns = [write_instance(tmp_path / name, orders=15, seed=n) for n, name in enumerate("ab")]
    policy = tmp_path / "policy.toml"
    policy.write_text('[policy]\nround = "instant"\n[policy.weights]\nidle = 0.0\n')
    command = ["simulate", "mdrp", *map(str, towns), "--solution", str(tmp_path / "out")]
    command += ["--json", str(tmp_path / "figures.json"), "--policy", str(policy)]
    assert main(command) == 0
    assert "mean of 2" in capsys.readouterr().out
    for town in towns:
        assert breaches(town, tmp_path / "out" / town.name) == []
    output = json.loads((tmp_path / "figures.json").read_text())
    assert [row["instance"] for row in output["instances"]] == ["a", "b"]
    assert output["how"]["policy"] == str(policy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mdrp", "nowhere"], "nowhere: there is no such folder"),
        (["cityday", "nowhere"], "nowhere: there is no such folder"),
        (["mallday", "--mall", "nowhere"], "not one of fashion-show"),
        (["mallday", "--readme-drivers", "--bad-day"], "these drivers know no bad day"),
        (["mallday", "--bad-day", "rain=1"], "--bad-day there is no event 'rain'"),
        (["mallday", "--bad-day", "late=2"], "--bad-day late is 2, not from 0 to 1"),
        (["mallday", "--bad-day", "nowhere.toml"], "nowhere.toml: No such file"),
        (["mdrp", "TOWN", "--policy", "nowhere.toml"], "nowhere.toml: No such file"),
        (["mdrp", "TOWN", "--policy", "BAD"], "one table, [policy]"),
        (["mdrp", "TOWN", "--set", "windowms=3"], "is it window_ms?"),
        (["mdrp", "TOWN", "--set", "window_ms=0"], "not from 1 to"),
        (["mdrp", "TOWN", "--set", "window_ms"], "NAME=VALUE"),
        (["mdrp", "TOWN", "--set", "round=broadcast"], "not one of instant, batch"),
        (
            ["mdrp", "TOWN", "--set", "travel_source=roads", "--set", "travel_roads=r"],
            "travel times of its own",
        ),
    ],
)
def test_invalid_input_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("window_ms = 3\n")
    places = {"TOWN": str(write_instance(tmp_path / "town", orders=3)), "BAD": str(bad)}
    assert main(["simulate", *(places.get(word, word) for word in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("hour", ["-1", "48", "noon"])
def test_city_day_starts_at_the_given_hour(hour: str) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "cityday", ".", "--from", hour])


@pytest.mark.parametrize("fleet", ["0", "2", "some"])
def test_invalid_fleet_share_is_refused(fleet: str) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "cityday", ".", "--fleet", fleet])


@pytest.mark.parametrize("flag", ["--days=0", "--days=367", "--days=x", "--goal=101", "--goal=x"])
def test_invalid_week_is_refused(flag: str) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "mallday", flag])


@pytest.mark.slow
def test_goals_of_bad_days_decide_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    command = ["simulate", "mallday", "--parcels", "6", "--drivers", "5", "--days", "2"]
    command += ["--json", str(file), "--bad-day", "refused=1", "--goal"]
    assert main([*command, "0"]) == 0
    printed = capsys.readouterr().out
    assert "every parcel is accounted for" in printed
    assert printed.index("day 1 of 2") < printed.index("day 2 of 2") < printed.index("gini")
    figures = json.loads(file.read_text())["bad_days"]
    assert sum(row["orders"] for row in figures["where"]) == 12
    assert figures["deliverable"] == 0
    assert len(json.loads(file.read_text())["days"]) == 2
    command[command.index("refused=1")] = "quits=1"
    assert main([*command, "100"]) == 1
    assert "✗" in capsys.readouterr().out
