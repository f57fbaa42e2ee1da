"""A simulated mall day, the demo and simulated apps have the same policy and vehicles, so that a
figure of one holds for the others."""

from dataclasses import fields, replace

from mallard_engine.config.settings import load_settings
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.demo.plan import Plan
from mallard_engine.simulation.scenarios import mallday

# Limits for silence: no simulated driver loses its connection. Dwell times are known. A retry would
# find no driver whom its own round has not found.
DIFFERS = {"stale_after_s", "resume_ttl_s", "at_mall_silence_s", "dwell_visits", "retry_s"}


def differing(policy: MarketPolicy, other: MarketPolicy) -> set[str]:
    names = (field.name for field in fields(policy))
    return {name for name in names if getattr(policy, name) != getattr(other, name)}


def test_mall_day_has_the_policy_of_a_live_market() -> None:
    live = load_settings(environ={}).market_policy("phoenix")
    assert differing(mallday.default_policy(), live) == DIFFERS


def test_demo_differs_in_its_pace_only() -> None:
    environ = dict(Plan().environment("unix:///tmp/x", "s" * 32))
    demo = load_settings(environ={n: v for n, v in environ.items() if v}).policy
    pace = {"offer_timeout_ms", "cooldown_s", "resume_ttl_s", "max_speed_mps", "hold_max_s"}
    pace.add("door_wait_s")
    assert differing(demo, MarketPolicy()) == pace
    assert demo.preset == MarketPolicy.preset


def test_preset_reaches_the_nodes_of_the_demo() -> None:
    environ = dict(replace(Plan(), preset="express").environment("unix:///tmp/x", "s" * 32))
    assert load_settings(environ=environ).policy.preset == "express"
