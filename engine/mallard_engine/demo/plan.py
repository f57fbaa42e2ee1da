"""The plan of a demo run, with limits short enough to show a day's events in a minute."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.workload.bad_day.events import BadDay
from mallard_engine.workload.fleet import Habits


@dataclass(frozen=True, slots=True)
class Plan:
    """The demo's size and pace.

    `rate` jobs a second arrive for `seconds`, then it drains for at most `drain_s`. With
    `kill_node` one node is killed halfway; `stranded` of its drivers then stay without a socket
    for `stranded_s`, so that an offer to a driver without a socket would show. On a `bad_day`
    parcels may be missing for a minute. With `stay` orders arrive until the demo is interrupted,
    and it prints links to the pages.
    """

    seconds: float = 40.0
    rate: float = 11.0
    drivers: int = 300
    seed: int = 1
    kill_node: bool = False
    stay: bool = False
    bad_day: BadDay | None = None
    stranded: int = 20
    stranded_s: float = 8.0
    preset: str = MarketPolicy.preset
    hold_max_s: float = 10.0
    offer_timeout_ms: int = 5_000
    offer_ack_timeout_ms: int = 3_000
    cooldown_s: float = 5.0
    door_wait_s: float = 4.0
    resume_ttl_s: float = 30.0
    habits: Habits = field(default_factory=lambda: Habits(speed_mps=1_500.0, report_every_ms=2_000))

    @property
    def drain_s(self) -> float:
        """How long the jobs may take to end after the last order."""
        return 45.0 if self.bad_day is None else 150.0

    @property
    def max_speed_mps(self) -> float:
        """The engine's limit for fixes: twice the drivers' speed, as clocks are inexact."""
        return 2 * self.habits.speed_mps

    def environment(self, redis_url: str, secret: str) -> Mapping[str, str]:
        """Return the settings of the nodes as environment variables."""
        return {
            "MALLARD_REDIS_URL": redis_url,
            "MALLARD_SECRET": secret,
            "MALLARD_OPENING_HOURS": "off",
            "MALLARD_LOG_LEVEL": "warning",
            "MALLARD_LOG_FORMAT": "json",
            "MALLARD_DRAIN_LINGER_S": "0",
            "MALLARD_PRESET": self.preset,
            "MALLARD_HOLD_MAX_S": f"{self.hold_max_s:g}",
            "MALLARD_OFFER_TIMEOUT_MS": str(self.offer_timeout_ms),
            "MALLARD_OFFER_ACK_TIMEOUT_MS": str(self.offer_ack_timeout_ms),
            "MALLARD_COOLDOWN_S": f"{self.cooldown_s:g}",
            "MALLARD_RESUME_TTL_S": f"{self.resume_ttl_s:g}",
            "MALLARD_MAX_SPEED_MPS": f"{self.max_speed_mps:g}",
            "MALLARD_DOOR_WAIT_S": f"{self.door_wait_s:g}",
        }

    def summary(self) -> str:
        """Return the settings in one line, for the screen."""
        habits = self.habits
        return (
            f"preset {self.preset}, "
            f"drivers at {habits.speed_mps:g} m/s (accepted up to {self.max_speed_mps:g}), "
            f"offer timeout {self.offer_timeout_ms / 1000:g} s, "
            f"acknowledged within {self.offer_ack_timeout_ms / 1000:g} s, "
            f"cool-down {self.cooldown_s:g} s, resume time {self.resume_ttl_s:g} s; "
            f"{habits.decline:.0%} declined, {habits.lapse:.0%} lapse, {habits.vanish:.0%} vanish"
            + ("; a bad day" if self.bad_day else "")
        )


def new_secret() -> str:
    """Return a token secret for one run."""
    return secrets.token_hex(32)
