"""What a market can be told: its limits, its rounds and what things cost there.

Frozen data that is checked when it is built; `mallard_engine.config.settings` says where its values
come from.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from mallard_engine.config.fields import ConfigError, check_bounds, figure
from mallard_engine.core.matching.search_policy import staggered_rungs
from mallard_engine.core.matching.travel_time import SpeedByHour

_HTTP_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_PROFILE = re.compile(r"[A-Za-z0-9_-]+")

Round: TypeAlias = Literal["instant", "batch"]
"""How jobs find drivers: at once a mall, or together a market."""


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What a candidate's circumstances cost, in seconds of travel time."""

    # Fairness: seconds taken off for each second without a job, and the time that counts at most.
    idle: float = figure(0.05, 0, 10)
    idle_limit_s: float = figure(1800.0, 0, 86_400)
    # Fairness: seconds added for one at twice the mean earnings an hour of those around, taken off
    # for one at none (in jobs where pay is not known). 0: no account is kept of it either.
    earnings_s: float = figure(0.0, 0, 3600)
    # Seconds added for each recent refusal, a decline or a lapse; an hour halves what it counts.
    recent_decline_s: float = figure(45.0, 0, 3600)
    # Seconds added for each second by which the slack to the deadline falls short of `slack_s`.
    slack: float = figure(0.5, 0, 100)
    slack_s: float = figure(900.0, 0, 86_400)
    # What a second weighs that refusals are expected to cost: the chance of one, from the driver's
    # own history, times the time until the next can be asked. 0: no history is kept either.
    acceptance: float = figure(0.0, 0, 100)
    # How likely an offer is taken where nothing is known; how soon a driver declines who declines.
    acceptance_prior: float = figure(0.8, 0.01, 0.99)
    decline_after_s: float = figure(10.0, 0, 3600)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class PlanCosts:
    """What a batch round's seconds are worth, beside a second of lateness, which is worth one."""

    # How much more a second of lateness counts for each hour since the parcel was ready.
    age: float = figure(1.0, 0, 100)
    # With fewer drivers than jobs: a second since the parcel was ready, for one that is left over.
    left: float = figure(0.3, 0, 100)
    # ... and off that for each second of its way to the door: short ones first serve more.
    haul: float = figure(0.0, 0, 100)
    # A second on the way to the mall; of waiting there for the parcel; until the driver is free.
    travel: float = figure(0.05, 0, 100)
    wait: float = figure(0.2, 0, 100)
    soon: float = figure(0.05, 0, 100)
    # Of a bundle: a second that a job is longer on its way than alone.
    delay: float = figure(0.05, 0, 100)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class TravelSource:
    """Where a market's travel times come from; the straight line answers for what is not told."""

    source: Literal["straight", "roads", "osrm"] = "straight"
    # A file made by `mallard roads build`; the address of an OSRM server and its profile.
    roads: Path | None = None
    osrm_url: str | None = None
    osrm_profile: str = "driving"
    # How many coordinates it takes in one request (its `--max-table-size`).
    osrm_table_size: int = figure(100, 2, 100_000)
    # A place further from every road is off the network.
    reach_m: float = figure(300.0, 1, 10_000)
    # How long an OSRM server may take; after so many failures in a row it is left alone so long.
    budget_ms: int = figure(100, 1, 10_000)
    failures: int = figure(3, 1, 1_000)
    rest_s: float = figure(10.0, 0.1, 3_600)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.source == "roads" and self.roads is None:
            raise ConfigError("travel source is roads: name their file in travel.roads", "source")
        if self.source == "osrm" and self.osrm_url is None:
            raise ConfigError(
                "travel source is osrm: name its address in travel.osrm_url", "source"
            )
        if self.osrm_url is not None and not _HTTP_ADDRESS.fullmatch(self.osrm_url):
            raise ConfigError(f"osrm_url is {self.osrm_url!r}, no http:// address", "osrm_url")
        if not _PROFILE.fullmatch(self.osrm_profile):
            raise ConfigError(f"osrm_profile is {self.osrm_profile!r}, no word", "osrm_profile")


@dataclass(frozen=True, slots=True)
class RunCosts:
    """What is weighed when jobs of one mall are pooled into runs, in seconds of travel time."""

    # The share of its own way, there and back, that a job must save to join a run.
    potential: float = figure(0.7, 0, 1)
    # Each second that each customer waits longer for the others; each second after a deadline.
    delay: float = figure(0.02, 0, 100)
    late: float = figure(10.0, 0, 10_000)
    # ``hard``: nobody joins a run that makes another late. ``soft``: lateness only costs.
    deadlines: Literal["hard", "soft"] = "hard"
    # Around each driver, or for the deadlines: then a run leaves when it must, and a job with
    # `patient_s` to spare must save the share `patient` of its own way to join one.
    plan: Literal["by_driver", "by_deadline"] = "by_driver"
    patient: float = figure(0.92, 0, 1)
    patient_s: float = figure(10_800.0, 1, 86_400)
    # ... and a full one leaves at once if its way is no more than this share of its jobs' own.
    close: float = figure(0.11, 0, 1)
    # The share of the way back to the mall that counts: drivers return for their next run.
    back: float = figure(1.0, 0, 1)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class MarketPolicy:
    """The figures of one market. Raises `ConfigError` for one that is out of its bounds."""

    # An offer: until when it may be answered, and acknowledged.
    offer_timeout_ms: int = figure(30_000, 1, 3_600_000)
    offer_ack_timeout_ms: int = figure(3_000, 1, 3_600_000)
    # After a decline or a lapse; after an offer that was not acknowledged (for that job only).
    cooldown_s: float = figure(30.0, 0, 86_400)
    unreachable_s: float = figure(60.0, 0, 86_400)

    # Silence: of positions; of the socket while idle or on the way; at the mall.
    stale_after_s: float = figure(60.0, 0.1, 86_400)
    resume_ttl_s: float = figure(120.0, 0.1, 86_400)
    at_mall_silence_s: float = figure(900.0, 0.1, 86_400)

    # Make before break: a job whose driver on the way has had no socket for so long goes to one who
    # arrives earlier, if there is one; 0: it stays until `resume_ttl_s`.
    break_after_s: float = figure(0.0, 0, 86_400)
    # ... and one whose driver, though connected, is expected at the gate so much later than it was
    # when it took the job: it is stuck, or slow; 0: it stays.
    stuck_after_s: float = figure(0.0, 0, 86_400)

    # How often a position may move the expected times of what its driver holds; 0: never.
    eta_every_s: float = figure(30.0, 0, 3_600)

    # Positions: faster than this is impossible; how long fixes are gathered for one write.
    max_speed_mps: float = figure(70.0, 0.1, 100_000)
    flush_ms: int = figure(200, 1, 10_000)

    # The search: where it starts, where it ends, how many drivers a round ranks at first and at
    # most.
    initial_radius_m: float = figure(1_500.0, 1, 500_000)
    max_radius_m: float = figure(25_000.0, 1, 500_000)
    candidates: int = figure(8, 1, 1024)
    max_candidates: int = figure(1024, 1, 1024)
    # A job that nobody took: when it is looked at again at the latest, and how often at most.
    retry_s: float = figure(5.0, 0.1, 3600)
    max_attempts: int = figure(200, 1, 1_000_000)

    # The ladder: how a job's first, second, … round asks, the last rung for all that follow:
    # `sequential`; `staggered K/S`: K drivers, S seconds apart, the first accept wins; `broadcast`.
    offer_rungs: tuple[str, ...] = ("sequential",)

    # Runs: how many jobs of one mall a driver may carry at once, if its vehicle has the room. With
    # one, nothing is pooled: who holds a job is offered no other.
    max_run_jobs: int = figure(1, 1, 16)
    run: RunCosts = field(default_factory=RunCosts)
    # Slack: how long a job that is ready is held for company at the most, and how long before it
    # must be collected it is let go (the driver's way there is in it). 0: nothing is held.
    hold_max_s: float = figure(0.0, 0, 86_400)
    hold_margin_s: float = figure(1_800.0, 0, 86_400)

    # Travel: the road over the straight line, the mean speed (usual, and in each hour of the
    # market's day: 24 figures), the time at each store and at the door.
    circuity: float = figure(1.3, 1, 10)
    speed_mps: float = figure(9.0, 0.1, 100_000)
    speed_by_hour: tuple[float, ...] = ()
    travel: TravelSource = field(default_factory=TravelSource)
    store_dwell_s: float = figure(120.0, 0, 86_400)
    # From so many stays at a store on, what they took stands for `store_dwell_s`; 0: never.
    dwell_visits: int = figure(20, 0, 100)
    dropoff_dwell_s: float = figure(60.0, 0, 86_400)
    # What a driver must have done when its block ends: its last drop-off, or its last pickup.
    block_covers: Literal["dropoff", "pickup"] = "dropoff"
    # ... and how long before it.
    block_margin_s: float = figure(0.0, 0, 86_400)

    weights: CostWeights = field(default_factory=CostWeights)

    # Rounds: a mall's at once, or a whole market's together. A batch collects for `window_ms`, or
    # until so many jobs have come, and looks at so many at the most.
    round: Round = "instant"
    window_ms: int = figure(1_000, 1, 600_000)
    batch_jobs: int = figure(100, 1, 10_000)
    max_batch_jobs: int = figure(400, 1, 4_000)
    # In a batch: jobs that are ready within `look_ahead_s` are planned; a driver is sent so much
    # before it must set off to be there in time; one who is free within `soon_free_s` counts.
    look_ahead_s: float = figure(1_800.0, 0, 86_400)
    send_early_s: float = figure(60.0, 0, 86_400)
    # ... and at once where hardly anybody could take the job this much later, as blocks end: a
    # refusal would come too late. 0: never.
    fading_s: float = figure(900.0, 0, 86_400)
    soon_free_s: float = figure(3_600.0, 0, 86_400)
    # Jobs ready within `wave_s` of one another are dealt out together, in so many waves.
    wave_s: float = figure(1_200.0, 1, 86_400)
    waves: int = figure(3, 1, 10)
    # ... and that in so many ways, with shorter and longer waves: the cheapest plan is taken.
    deals: int = figure(1, 1, 4)
    # So many jobs of one mall (and no more than `max_run_jobs`) are planned for one driver together
    # where drivers lack, all malls in one problem; instant rounds take one by one then. 1: where
    # `max_run_jobs` is over 1, runs are planned mall by mall.
    bundle_jobs: int = figure(1, 1, 4)
    # A driver who is expected to come on duty within this time counts as one who is free then.
    soon_on_s: float = figure(3_600.0, 0, 86_400)
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
            SpeedByHour(self.speed_mps, self.speed_by_hour)
        except ValueError as error:
            raise ConfigError(str(error), "speed_by_hour") from None
        self._check_rungs()

    def _check_rungs(self) -> None:
        try:
            rungs = staggered_rungs(self.offer_rungs)
        except ValueError as error:
            raise ConfigError(f"offer_rungs: {error}", "offer_rungs") from None
        if rungs and (self.round == "batch" or self.max_run_jobs > 1):
            what = "rounds are batches" if self.round == "batch" else "max_run_jobs is over 1"
            raise ConfigError(
                f"offer_rungs asks several drivers at once, and {what}: a plan there has one "
                "driver for each job",
                "offer_rungs",
            )

    @property
    def plans_runs(self) -> bool:
        """Whether each mall's jobs are planned as runs of its own."""
        return self.max_run_jobs > 1 and self.bundle_jobs == 1
