"""The policy of the market `sandbox`, in which minutes last seconds."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from mallard_engine.core.policy.market import MarketPolicy
from mallard_engine.core.policy.travel import TravelSource

# Robots drive a kilometre a second and visit shops without a dwell time. Each has one job at a
# time, so that an ending concerns one job. A person who declined is soon asked again. An order
# without a driver ends after a few declines.
SANDBOX_FIGURES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "max_speed_mps": 100_000.0,
        "speed_mps": 1_000.0,
        "speed_by_hour": (),
        "circuity": 1.0,
        "store_dwell_s": 1.0,
        "dwell_visits": 0,
        "dropoff_dwell_s": 1.0,
        "eta_every_s": 1.0,
        "initial_radius_m": 25_000.0,
        "retry_s": 1.0,
        "max_attempts": 6,
        "max_run_jobs": 1,
        "hold_max_s": 0.0,
        "round": "instant",
        "bundle_jobs": 1,
        "offer_rungs": ("sequential",),
        "cooldown_s": 0.0,
        "cooldown_min_s": 0.0,
        "declined_s": 10.0,
        "lapsed_s": 10.0,
        "unreachable_s": 5.0,
        "asked_again_min_s": 5.0,
        "resume_ttl_s": 15.0,
        "silence_stretch": 1.0,
        "at_mall_silence_s": 15.0,
        "break_after_s": 0.0,
        "stuck_after_s": 0.0,
        "transfer_before_end_s": 0.0,
        "door_wait_s": 5.0,
    }
)
"""The settings that differ from those of other markets. Travel times are straight lines as well."""


def sandbox_policy(policy: MarketPolicy) -> MarketPolicy:
    """Return the policy of the sandbox beside other markets with this policy."""
    return replace(policy, travel=TravelSource(), **SANDBOX_FIGURES)
