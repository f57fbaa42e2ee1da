"""The settings of the sandbox, and the policy of its market."""

from pathlib import Path

import pytest

from mallard_engine.cli.options import places_of
from mallard_engine.config.settings import ConfigError, load_settings
from mallard_engine.core.places.markets import Places, PlacesError

ON = {"MALLARD_SANDBOX": "on"}


def test_sandbox_is_off_by_default() -> None:
    assert "sandbox" not in places_of(load_settings({}, {})).markets
    assert "sandbox" in places_of(load_settings({}, ON)).markets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLARD_SANDBOX", "yes"),
        ("MALLARD_SANDBOX", "1"),
        ("MALLARD_SANDBOX_ROBOTS", "2"),
        ("MALLARD_SANDBOX_ROBOTS", "101"),
        ("MALLARD_SANDBOX_ROBOTS", "many"),
        ("MALLARD_SANDBOX_ORDERS", "-1"),
        ("MALLARD_SANDBOX_ORDERS", "21"),
    ],
)
def test_wrong_values_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_settings({}, ON | {name: value})


def test_key_set_alone_cannot_sign_for_robots(tmp_path: Path) -> None:
    keys = {"MALLARD_KEY_SET_FILE": str(tmp_path / "keys.json")}
    with pytest.raises(ConfigError, match="secret"):
        load_settings({}, ON | keys)
    assert load_settings({}, ON | keys | {"MALLARD_SECRET": "x" * 32}).has_sandbox
    assert not load_settings({}, keys).has_sandbox


def test_only_its_own_table_overrides_the_figures(tmp_path: Path) -> None:
    file = tmp_path / "mallard.toml"
    file.write_text("[policy]\ndoor_wait_s = 90\noffer_timeout_ms = 9000\n")
    settings = load_settings({"config": str(file)}, ON | {"MALLARD_MAX_SPEED_MPS": "50"})
    policy = settings.market_policy("sandbox")
    assert (policy.max_speed_mps, policy.door_wait_s) == (100_000, 5)
    assert policy.offer_timeout_ms == 9000
    assert settings.market_policy("phoenix").max_speed_mps == 50
    file.write_text("[markets.sandbox]\ndoor_wait_s = 30\n")
    settings = load_settings({"config": str(file)}, ON | {"MALLARD_MAX_SPEED_MPS": "50"})
    policy = settings.market_policy("sandbox")
    assert (policy.max_speed_mps, policy.door_wait_s) == (100_000, 30)


def test_own_market_must_not_take_the_id(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "engine/mallard_engine/places/phoenix.toml").read_text()
    (tmp_path / "own.toml").write_text(text.replace('id = "phoenix"', 'id = "sandbox"', 1))
    with pytest.raises(PlacesError, match="reserved"):
        Places.load([tmp_path])
