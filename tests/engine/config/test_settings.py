"""Settings: precedence of sources, validation, and error messages."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from mallard_engine.config.settings import ConfigError, Settings, load_settings
from mallard_engine.core.policy import CostWeights, MarketPolicy

FILE = """
port = 7000
log_level = "warning"
allowed_origins = ["https://ops.example"]

[policy]
offer_timeout_ms = 20000
max_radius_m = 9000

[policy.weights]
idle = 0.2

[markets.phoenix]
max_radius_m = 12000
circuity = 1.2

[markets.phoenix.weights]
slack = 2
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "mallard.toml"
    path.write_text(FILE)
    return path


def test_defaults_follow_the_contract() -> None:
    settings = load_settings(environ={})
    assert (settings.host, settings.port, settings.redis_url) == ("127.0.0.1", 8000, None)
    assert settings.data == Path(".mallard")
    policy = settings.market_policy("anywhere")
    assert (policy.offer_timeout_ms, policy.offer_ack_timeout_ms) == (30_000, 3_000)
    assert (policy.stale_after_s, policy.resume_ttl_s, policy.cooldown_s) == (60, 120, 30)
    assert (policy.max_speed_mps, policy.max_radius_m) == (70, 25_000)
    assert not settings.always_open


def test_flags_override_variables_file_and_defaults(toml: Path) -> None:
    environ = {"MALLARD_CONFIG": str(toml), "MALLARD_PORT": "7001", "MALLARD_HOST": "::1"}
    assert load_settings({"config": toml}, {}).port == 7000
    assert load_settings({}, environ).port == 7001
    settings = load_settings({"port": 7002, "host": None}, environ)
    assert (settings.port, settings.host, settings.log_level) == (7002, "::1", "warning")
    assert settings.allowed_origins == ("https://ops.example",)


def test_market_table_overrides_policy_table(toml: Path) -> None:
    settings = load_settings({"config": toml}, {})
    phoenix, elsewhere = settings.market_policy("phoenix"), settings.market_policy("las-vegas")
    assert (phoenix.max_radius_m, elsewhere.max_radius_m) == (12_000, 9_000)
    assert (phoenix.offer_timeout_ms, elsewhere.offer_timeout_ms) == (20_000, 20_000)
    assert (phoenix.circuity, elsewhere.circuity) == (1.2, 1.3)
    assert phoenix.weights == CostWeights(idle=0.2, slack=2.0)
    assert elsewhere.weights == CostWeights(idle=0.2)


def test_preset_follows_the_precedence_of_other_figures(tmp_path: Path) -> None:
    path = tmp_path / "mallard.toml"
    path.write_text('[policy]\npreset = "pooled"\n[markets.phoenix]\npreset = "same_day"\n')
    settings = load_settings({"config": path}, {})
    assert settings.market_policy("phoenix").preset == "same_day"
    assert settings.market_policy("las-vegas").preset == "pooled"
    settings = load_settings({"config": path}, {"MALLARD_PRESET": "express"})
    assert {settings.market_policy(name).preset for name in ("phoenix", "las-vegas")} == {"express"}


@pytest.mark.parametrize("preset", ["fast", "same-day", "Express"])
def test_unknown_preset_names_its_origin(preset: str) -> None:
    with pytest.raises(ConfigError, match=f"MALLARD_PRESET is '{preset}', not one of express"):
        load_settings({}, {"MALLARD_PRESET": preset})


def test_staggered_offers_need_orders_that_are_driven_alone() -> None:
    rungs = ("staggered 3/8",)
    MarketPolicy(offer_rungs=rungs, max_run_jobs=12, preset="express")
    with pytest.raises(ConfigError, match="preset is pooled"):
        MarketPolicy(offer_rungs=rungs, max_run_jobs=12)


def test_variable_overrides_every_market(toml: Path) -> None:
    environ = {"MALLARD_MAX_RADIUS_M": "400", "MALLARD_WEIGHTS_SLACK": "0.25"}
    settings = load_settings({"config": toml}, environ)
    for market in ("phoenix", "las-vegas"):
        policy = settings.market_policy(market)
        assert policy.max_radius_m == 400
        assert policy.weights.slack == 0.25
    assert load_settings({"stale_after_s": 5.0}, environ).policy.stale_after_s == 5.0


def test_market_configures_a_speed_for_each_hour(tmp_path: Path) -> None:
    path = tmp_path / "mallard.toml"
    path.write_text(f"[markets.phoenix]\nspeed_by_hour = {[9] * 23 + [7.5]}")
    settings = load_settings({"config": path}, {})
    assert settings.market_policy("phoenix").speed_by_hour == (9.0,) * 23 + (7.5,)
    assert settings.market_policy("las-vegas").speed_by_hour == ()
    everywhere = load_settings({"config": path}, {"MALLARD_SPEED_BY_HOUR": ",".join(["8"] * 24)})
    assert everywhere.market_policy("phoenix").speed_by_hour == (8.0,) * 24


def test_foreign_and_empty_variables_are_ignored() -> None:
    environ = {
        "PATH": "/bin",
        "MALLARD_DATASETS": "/data",
        "MALLARD_TEST_REDIS": "/bin/redis-server",
        "MALLARD_REDIS_URL": "",
        "MALLARD_OPENING_HOURS": "off",
    }
    settings = load_settings({}, environ)
    assert settings.redis_url is None
    assert settings.always_open


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"MALLARD_STALE_AFTR_S": "5"}, "MALLARD_STALE_AFTR_S is unknown; is it stale_after_s?"),
        ({"MALLARD_POLICY": "5"}, "MALLARD_POLICY is unknown"),
        ({"MALLARD_PORT": "http"}, "MALLARD_PORT is 'http', not a whole number"),
        ({"MALLARD_PORT": "70000"}, "MALLARD_PORT: port is 70000, not from 0 to 65535"),
        ({"MALLARD_STALE_AFTER_S": "nan"}, "stale_after_s is nan, not from 0.1 to 86400"),
        ({"MALLARD_CIRCUITY": "0.5"}, "MALLARD_CIRCUITY: circuity is 0.5, not from 1 to 10"),
        ({"MALLARD_SPEED_BY_HOUR": "9, fast"}, "MALLARD_SPEED_BY_HOUR is 'fast', not a number"),
        ({"MALLARD_SPEED_BY_HOUR": "9,8"}, "SPEED_BY_HOUR: speed_by_hour has 2 entries, not 24"),
        ({"MALLARD_OFFER_RUNGS": "all"}, "MALLARD_OFFER_RUNGS: offer_rungs: 'all' is not one of"),
        ({"MALLARD_OFFER_RUNGS": ","}, "offer_rungs: no rung"),
        ({"MALLARD_LOG_FORMAT": "xml"}, "MALLARD_LOG_FORMAT is 'xml', not one of console, json"),
        ({"MALLARD_SECRET": "a", "MALLARD_SECRET_FILE": "b"}, "secret and secret_file"),
        ({"MALLARD_CONFIG": "/nowhere.toml"}, "/nowhere.toml: No such file"),
    ],
)
def test_invalid_variable_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({}, environ)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "prot is unknown; is it port?"),
        ("[policy]\nradius = 1", "policy.radius is unknown"),
        ("[markets.phoenix]\nflush = 1", "markets.phoenix.flush is unknown; is it flush_ms?"),
        ("[markets]\nphoenix = 1", "markets.phoenix must be a table"),
        ("markets = 1", "markets must be a table"),
        ("port = true", "port is True, not a whole number"),
        ("port = 1.5", "port is 1.5, not a whole number"),
        ("[policy]\nspeed_by_hour = 9", "policy.speed_by_hour is 9, not a list"),
        ("[policy]\nspeed_by_hour = [true]", "policy.speed_by_hour is True, not a number"),
        ("host = 1", "host is 1, not text"),
        ("[policy.weights]\nidle = -1", "policy.weights.idle: idle is -1.0"),
        ("port = ", "mallard.toml"),
    ],
)
def test_invalid_file_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mallard.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings({"config": str(path)}, {})
    assert message in str(caught.value)


def test_settings_are_validated_when_built_and_frozen() -> None:
    with pytest.raises(ConfigError, match="offer_timeout_ms is 0"):
        MarketPolicy(offer_timeout_ms=0)
    with pytest.raises(ConfigError, match="break_after_s is 120, not below resume_ttl_s"):
        MarketPolicy(break_after_s=120)
    with pytest.raises(ConfigError, match="several drivers at once, and rounds are batches"):
        MarketPolicy(offer_rungs=("broadcast",), round="batch")
    with pytest.raises(ConfigError, match="several drivers at once, and preset is pooled"):
        MarketPolicy(offer_rungs=("staggered 2/5",), max_run_jobs=2)
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_secrets_are_not_in_the_repr() -> None:
    settings = Settings(secret="tell-nobody", redis_url="redis://:tell-nobody@127.0.0.1")
    assert "tell-nobody" not in repr(settings)


@pytest.mark.parametrize(
    ("host", "beyond"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("a", True)],
)
def test_host_is_classified_as_loopback_or_beyond(host: str, beyond: bool) -> None:
    assert Settings(host=host).binds_beyond_loopback is beyond
