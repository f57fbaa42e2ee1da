"""`mallard config check`."""

from pathlib import Path

import pytest

from mallard_engine.cli.main import main


def check(tmp_path: Path, toml: str) -> int:
    path = tmp_path / "mallard.toml"
    path.write_text(toml)
    return main(["config", "check", "--config", str(path), "--data", str(tmp_path / "data")])


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLARD_SECRET", "MALLARD_REDIS_URL", "MALLARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_config_check_prints_the_settings_of_a_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = f'port = 9000\nsecret = "{"s" * 32}"\n[markets.phoenix]\noffer_timeout_ms = 5000\n'
    toml += 'preset = "express"\noffer_rungs = ["sequential", "staggered 3/8", "broadcast"]\n'
    assert check(tmp_path, toml) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {"port = 9000", "secret = (set)", "redis_url = (not set)"} <= set(shown)
    assert "markets.phoenix.offer_timeout_ms = 5000" in shown
    assert "policy.offer_timeout_ms = 30000" in shown
    assert "policy.offer_rungs = sequential" in shown
    assert "markets.phoenix.offer_rungs = sequential, staggered 3/8, broadcast" in shown
    assert shown[-1].startswith("markets: las-vegas, northern-virginia, phoenix; ")
    assert "ssss" not in "".join(shown)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 9000", "prot"),
        ("port = 99999", "port"),
        ("[markets.atlantis]\nflush_ms = 5", "atlantis"),
        ('secret = "x"\nhost = "0.0.0.0"', "32 bytes"),
        ("port =", "mallard.toml"),
        ('[policy.travel]\nsource = "roads"\nroads = "no.roads"', "no.roads: No such file"),
        ('[policy]\noffer_rungs = ["staggered 99/5"]', "from 2 to 64 drivers"),
        ('redis_url = "redis://a/first"', "redis_url: the database is not a number"),
        ("[policy]\nspeed_by_hour = [9]", "speed_by_hour has 1 entries, not 24"),
    ],
)
def test_config_check_names_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str, message: str
) -> None:
    assert check(tmp_path, toml) == 2
    output = capsys.readouterr()
    assert message in output.out + output.err
