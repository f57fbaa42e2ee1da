"""The plan of a swarm."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from load_tests.drivers.app_driver import AppHabits
from load_tests.target import Target
from mallard_engine.workload.behaviour import USUAL_ANSWERS, AnswerShares

MAX_DRIVERS: Final = 100_000
MAX_PROCESSES: Final = 64


class BadPlan(ValueError):
    """A value of the plan is out of bounds; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmPlan:
    """Drivers and their habits, and how orders arrive. Raises `BadPlan`, `NotAllowed`.

    Times in seconds, shares from 0 to 1. Drivers and orders are divided evenly over `processes`,
    and over `urls` in turn. `rate`: orders a second of all processes together, for `seconds`, after
    `warm_s` that are not measured. A driver reports a position every `report_s`; 0: never.
    `hold_s`: from accepting to delivering; 0: each step follows the reply to the last.
    `services`: how many order services submit the orders in turn; more than one need a secret.
    `crowd`: how many of the drivers live around the first mall, for a flash sale; all others, and
    the usual orders, are then in other markets.
    `nice`: by how much less urgent the workers are than what they measure.
    `grace_s`: an order without an offer by then has failed. `awaits_welcome`: False for a server
    that only takes frames, such as `load_tests.benchmarks.peers.sink`.
    """

    urls: tuple[str, ...]
    drivers: int = 1000
    rate: float = 20.0
    seconds: float = 60.0
    warm_s: float = 5.0
    processes: int = 1
    report_s: float = 5.0
    think_s: float = 0.5
    hold_s: float = 20.0
    decline_share: float = USUAL_ANSWERS.decline
    lapse_share: float = USUAL_ANSWERS.lapse
    connects_per_s: float = 500.0
    grace_s: float = 5.0
    services: int = 1
    crowd: int = 0
    markets: tuple[str, ...] = ()
    malls: tuple[str, ...] = ()
    name: str = "swarm"
    nice: int = 0
    seed: int = 1
    awaits_welcome: bool = True
    allow_remote: bool = False

    def __post_init__(self) -> None:
        Target.of(self.urls, allow_remote=self.allow_remote)
        for name, low, high in (
            ("drivers", 1, MAX_DRIVERS),
            ("rate", 0, 100_000),
            ("seconds", 0.1, 86_400),
            ("warm_s", 0, 86_400),
            ("processes", 1, MAX_PROCESSES),
            ("report_s", 0, 3600),
            ("think_s", 0, 3600),
            ("hold_s", 0, 86_400),
            ("decline_share", 0, 1),
            ("lapse_share", 0, 1),
            ("connects_per_s", 1, 100_000),
            ("grace_s", 0.1, 3600),
            ("services", 1, 1000),
            ("crowd", 0, self.drivers),
            ("nice", 0, 19),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise BadPlan(f"{name} is {value:g}: it goes from {low:g} to {high:g}")
        if self.decline_share + self.lapse_share > 1:
            raise BadPlan("decline_share and lapse_share add up to more than 1")
        if self.processes > self.drivers:
            raise BadPlan(f"{self.processes} processes have no use for {self.drivers} drivers")

    @property
    def target(self) -> Target:
        """The nodes."""
        return Target.of(self.urls, allow_remote=self.allow_remote)

    @property
    def habits(self) -> AppHabits:
        """How the drivers answer and work."""
        answers = AnswerShares(self.decline_share, self.lapse_share)
        return AppHabits(self.think_s, self.hold_s, answers)

    def drivers_limit(self, offer_timeout_s: float, cooldown_s: float) -> float:
        """About how many jobs a second the drivers can take, as an engine with these limits keeps
        them busy: each job takes 1 / (1 - declines - lapses) offers."""
        accepted = 1 - self.decline_share - self.lapse_share
        busy_s = (
            accepted * (self.think_s + self.hold_s)
            + self.decline_share * (self.think_s + cooldown_s)
            + self.lapse_share * (offer_timeout_s + cooldown_s)
        )
        return self.drivers * accepted / busy_s if busy_s else float("inf")

    def to_wire(self) -> dict[str, Any]:
        """Return the plan as plain data for another process."""
        return dataclasses.asdict(self)

    @classmethod
    def from_wire(cls, plan: Mapping[str, Any]) -> Self:
        """Return the plan of `to_wire`."""
        lists = {name: tuple(it) for name, it in plan.items() if isinstance(it, list)}
        return cls(**{**plan, **lists})
