"""A market's policy: the only definition of every setting that a market can configure.

Groups of settings are frozen dataclasses; `MarketPolicy` has all of them and checks them when it is
built. The groups that are base classes of `MarketPolicy` have flat names (`cooldown_s`); those
in its fields are tables of their own (`weights.idle` in the TOML file, `MALLARD_WEIGHTS_IDLE` in
the environment). `mallard_engine.config.settings` reads the values, and `python -m
mallard_engine.reference` documents them.

Add a setting to its group here, use it, and run `make docs`: nothing restates its name, default or
bounds. Nodes compare policies by a fingerprint of all names and values
(`mallard_engine.storage.policy_agreement`), so an added setting makes nodes of both versions report
a disagreement during a rolling restart.
"""

from mallard_engine.core.policy.costs import CostWeights, PlanCosts, RunCosts
from mallard_engine.core.policy.drivers import BlockPolicy, PositionPolicy, SilencePolicy
from mallard_engine.core.policy.market import MarketPolicy
from mallard_engine.core.policy.matching import (
    BatchPolicy,
    DurationPolicy,
    PoolingPolicy,
    Round,
    SearchPolicy,
)
from mallard_engine.core.policy.offers import OfferPolicy, PatiencePolicy
from mallard_engine.core.policy.storage import StoragePolicy
from mallard_engine.core.policy.travel import TravelSource

__all__ = [
    "BatchPolicy",
    "BlockPolicy",
    "CostWeights",
    "DurationPolicy",
    "MarketPolicy",
    "OfferPolicy",
    "PatiencePolicy",
    "PlanCosts",
    "PoolingPolicy",
    "PositionPolicy",
    "Round",
    "RunCosts",
    "SearchPolicy",
    "SilencePolicy",
    "StoragePolicy",
    "TravelSource",
]
