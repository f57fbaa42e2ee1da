"""The policy of a market: all groups of settings, checked together."""

from dataclasses import dataclass, field

from mallard_engine.core.bounded import ConfigError, check_bounds
from mallard_engine.core.matching.offer_rungs import staggered_rungs
from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.model.load import Need
from mallard_engine.core.policy.costs import CostWeights, PlanCosts, RunCosts
from mallard_engine.core.policy.drivers import BlockPolicy, PositionPolicy, SilencePolicy
from mallard_engine.core.policy.matching import (
    BatchPolicy,
    DurationPolicy,
    PoolingPolicy,
    SearchPolicy,
)
from mallard_engine.core.policy.offers import OfferPolicy, PatiencePolicy
from mallard_engine.core.policy.storage import StoragePolicy
from mallard_engine.core.policy.travel import TravelSource
from mallard_protocol.codes import ServiceLevel


@dataclass(frozen=True)
class MarketPolicy(
    # Reversed: dataclasses take the fields of the last base first.
    StoragePolicy,
    BatchPolicy,
    BlockPolicy,
    DurationPolicy,
    PoolingPolicy,
    SearchPolicy,
    PositionPolicy,
    SilencePolicy,
    PatiencePolicy,
    OfferPolicy,
):
    """All settings of one market. Raises `ConfigError` if one is out of its bounds."""

    weights: CostWeights = field(default_factory=CostWeights)
    travel: TravelSource = field(default_factory=TravelSource)
    run: RunCosts = field(default_factory=RunCosts)
    plan: PlanCosts = field(default_factory=PlanCosts)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.break_after_s and self.break_after_s >= self.resume_ttl_s:
            raise ConfigError(
                f"break_after_s is {self.break_after_s:g}, not below resume_ttl_s "
                f"({self.resume_ttl_s:g}), when the job goes back anyway",
                "break_after_s",
            )
        try:
            self.speeds("UTC")
        except ValueError as error:
            raise ConfigError(str(error), "speed_by_hour") from None
        self._check_rungs()

    def _check_rungs(self) -> None:
        try:
            rungs = staggered_rungs(self.offer_rungs)
        except ValueError as error:
            raise ConfigError(f"offer_rungs: {error}", "offer_rungs") from None
        shares = self.max_run_jobs > 1 and self.preset != "express"
        if rungs and (self.round == "batch" or shares):
            what = "rounds are batches" if self.round == "batch" else f"preset is {self.preset}"
            raise ConfigError(
                f"offer_rungs asks several drivers at once, and {what}: a plan there has one "
                "driver for each job",
                "offer_rungs",
            )

    def speeds(self, time_zone: str) -> SpeedByHour:
        """Return the market's mean speed for each hour of the day in `time_zone`."""
        return SpeedByHour(self.speed_mps, self.speed_by_hour, time_zone)

    @property
    def plans_runs(self) -> bool:
        """Whether each mall plans its jobs as runs of its own."""
        return self.max_run_jobs > 1 and self.bundle_jobs == 1

    def pools(self, need: Need) -> bool:
        """Return whether rounds plan the job in runs."""
        return self.plans_runs and self.level_of(need) is not ServiceLevel.EXPRESS
