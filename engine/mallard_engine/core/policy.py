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

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from mallard_engine.core.bounded import ConfigError, bounded, check_bounds, described
from mallard_engine.core.matching.offer_rungs import staggered_rungs
from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.model import Need
from mallard_protocol.codes import ServiceLevel

_HTTP_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_PROFILE = re.compile(r"[A-Za-z0-9_-]+")

Round: TypeAlias = Literal["instant", "batch"]
"""How jobs are matched: at once per mall, or together per market."""


@dataclass(frozen=True, slots=True)
class CostWeights:
    """Cost terms of a candidate, in seconds of travel time; see `core/matching/cost.py`."""

    idle: float = bounded(
        0.05,
        0,
        10,
        "s/s",
        "Fairness: seconds subtracted for each second since the driver's last job. Raise it to "
        "favour drivers who have waited longest over the nearest ones.",
    )
    idle_limit_s: float = bounded(
        1800.0,
        0,
        86_400,
        "s",
        "The idle time that counts at most. Lower it where a driver who idles for hours should "
        "not win against a much nearer one.",
    )
    earnings_s: float = bounded(
        0.0,
        0,
        3600,
        "s",
        "Fairness: seconds added for a driver at twice the mean hourly earnings of the candidates, "
        "and subtracted for one without earnings (counted in jobs where pay is unknown). "
        "0: earnings are not recorded. Set it to even out pay between drivers.",
    )
    recent_decline_s: float = bounded(
        45.0,
        0,
        3600,
        "s",
        "Seconds added for each recent decline or expired offer; the count halves every hour. "
        "Raise it if offers keep going to drivers who decline.",
    )
    slack: float = bounded(
        0.5,
        0,
        100,
        "s/s",
        "Seconds added for each second by which the slack to the deadline falls short of "
        "`weights.slack_s`. Raise it if deliveries arrive late although faster drivers were free.",
    )
    slack_s: float = bounded(
        900.0,
        0,
        86_400,
        "s",
        "The slack before the delivery deadline that is free of cost. Raise it where travel times "
        "vary more.",
    )
    acceptance: float = bounded(
        0.0,
        0,
        100,
        "",
        "Weight of the expected cost of a refusal: its probability, from the driver's own history, "
        "times the time until the next driver can be asked. 0: no history is recorded. Set it to 1 "
        "where many offers are declined.",
    )
    acceptance_prior: float = bounded(
        0.8,
        0.01,
        0.99,
        "",
        "The acceptance probability without any history. Set it to the share of offers that the "
        "market's drivers accept.",
    )
    decline_after_s: float = bounded(
        10.0,
        0,
        3600,
        "s",
        "How soon a driver who declines does so, on average. Set it to the measured mean.",
    )

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class PlanCosts:
    """Costs of a batch plan, relative to a second of lateness at the pickup, which costs 1."""

    age: float = bounded(
        1.0,
        0,
        100,
        "1/h",
        "How much more a second of lateness costs for each hour since the parcel was ready. Raise "
        "it if single jobs wait far longer than the others.",
    )
    left: float = bounded(
        0.3,
        0,
        100,
        "s/s",
        "With fewer drivers than jobs: the cost of leaving a job without a driver, for each "
        "second since its parcel was ready. Raise it to serve old jobs first in a shortage.",
    )
    haul: float = bounded(
        0.0,
        0,
        100,
        "s/s",
        "Subtracted from `plan.left` for each second of travel to the door, as short deliveries "
        "serve more customers in a shortage. Set it to prefer them.",
    )
    travel: float = bounded(
        0.05,
        0,
        100,
        "s/s",
        "Cost of a second of travel to the mall. Raise it to save driving at the expense of "
        "lateness.",
    )
    wait: float = bounded(
        0.2,
        0,
        100,
        "s/s",
        "Cost of a second that a driver waits at the mall for the parcel. Raise it where drivers "
        "must not wait.",
    )
    soon: float = bounded(
        0.05,
        0,
        100,
        "s/s",
        "Cost of a second until the driver is free. Raise it to prefer drivers who are free now.",
    )
    delay: float = bounded(
        0.05,
        0,
        100,
        "s/s",
        "Cost of a second by which a job of a bundle is delivered later than alone. Raise it if "
        "bundled customers wait too long.",
    )

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class TravelSource:
    """Where travel times come from. The straight-line estimate replaces missing answers."""

    source: Literal["straight", "roads", "osrm"] = described(
        "straight",
        "`straight`: great circle × `circuity` ÷ speed; `roads`: a road network in the node's own "
        "process; `osrm`: an OSRM server. Use roads where rivers or motorways make straight lines "
        "misleading.",
    )
    roads: Path | None = described(
        None, "The road network file, made by `mallard roads build`. Needed by source `roads`."
    )
    osrm_url: str | None = described(
        None, "The address of the OSRM server (`http://…`). Needed by source `osrm`."
    )
    osrm_profile: str = described(
        "driving",
        "The profile in requests to the OSRM server. Set it to the profile that the "
        "server was built with.",
    )
    osrm_table_size: int = bounded(
        100,
        2,
        100_000,
        "coordinates",
        "Coordinates in one OSRM request. Keep it at the server's `--max-table-size`.",
    )
    reach_m: float = bounded(
        300.0,
        1,
        10_000,
        "m",
        "A place farther than this from every road is off the network and uses the straight line. "
        "Raise it where large car parks are not mapped.",
    )
    budget_ms: int = bounded(
        100,
        1,
        10_000,
        "ms",
        "How long a request to the OSRM server may take. Raise it only if the server is healthy "
        "and slower than that: a match waits for it.",
    )
    failures: int = bounded(
        3,
        1,
        1_000,
        "",
        "After this many failed requests in a row the source is not asked for `travel.rest_s`. "
        "Raise it for a source that fails now and then.",
    )
    rest_s: float = bounded(
        10.0,
        0.1,
        3_600,
        "s",
        "How long a failing source is not asked. Raise it if the source takes longer to recover.",
    )

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
    """How jobs of one mall are pooled into runs; costs in seconds of travel time."""

    potential: float = bounded(
        0.7,
        0,
        1,
        "share",
        "The share of its own round trip that a job must save to join a run. Lower it for fuller "
        "runs with longer detours.",
    )
    delay: float = bounded(
        0.02,
        0,
        100,
        "s/s",
        "Cost of each second that a customer waits longer because of the others' stops. Raise it "
        "if customers at the end of a run wait too long.",
    )
    late: float = bounded(
        10.0,
        0,
        10_000,
        "s/s",
        "Cost of each second after a delivery deadline. Raise it where `run.deadlines` is `soft` "
        "and too many are missed.",
    )
    deadlines: Literal["hard", "soft"] = described(
        "hard",
        "`hard`: no job joins a run if that makes another one late; `soft`: lateness only costs "
        "`run.late`. Use `soft` where full runs matter more than meeting every deadline.",
    )
    plan: Literal["by_driver", "by_deadline"] = described(
        "by_deadline",
        "`by_driver`: runs are built around each free driver; `by_deadline`: around the most "
        "urgent jobs, and a run leaves when it must. Use `by_driver` where few drivers serve a "
        "wide area, so that a run which must leave finds only distant ones.",
    )
    patient: float = bounded(
        0.92,
        0,
        1,
        "share",
        "With `by_deadline`: what `run.potential` becomes for a job with `run.patient_s` of slack. "
        "Lower it to let jobs with slack join earlier runs.",
    )
    patient_s: float = bounded(
        10_800.0,
        1,
        86_400,
        "s",
        "The slack from which `run.patient` applies in full; with less, the share falls linearly "
        "to `run.potential`. Set it near the usual slack of an order.",
    )
    close: float = bounded(
        0.11,
        0,
        1,
        "share",
        "With `by_deadline`: a full run leaves at once if its route takes at most this share of "
        "its jobs' separate round trips. Raise it to let full runs leave sooner.",
    )
    back: float = bounded(
        0.7,
        0,
        1,
        "share",
        "The share of the trip back to the mall that counts. Lower it where drivers do not return "
        "for their next run.",
    )

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True)
class OfferPolicy:
    """How long an offer is valid and what follows when it ends."""

    offer_timeout_ms: int = bounded(
        30_000,
        1,
        3_600_000,
        "ms",
        "How long a driver may take to answer an offer. Lower it to reach the next driver sooner, "
        "raise it if drivers miss offers while driving.",
    )
    offer_ack_timeout_ms: int = bounded(
        3_000,
        1,
        3_600_000,
        "ms",
        "How long the driver app may take to acknowledge an offer before the next driver is "
        "asked. Raise it on slow mobile networks.",
    )
    cooldown_s: float = bounded(
        30.0,
        0,
        86_400,
        "s",
        "How long a driver gets no offer after a decline or an expired offer, at most: an urgent "
        "job's is shorter (`slack_share`). Raise it if drivers feel pressed.",
    )
    unreachable_s: float = bounded(
        60.0,
        0,
        86_400,
        "s",
        "How long, at most, a driver who did not acknowledge an offer is not asked again for that "
        "job. Raise it where connections stay bad for longer.",
    )
    offer_rungs: tuple[str, ...] = described(
        ("sequential",),
        "How the first, second, … round of a job asks drivers; the last entry applies to all "
        "later rounds. `sequential`: one driver at a time; `staggered K/S`: K drivers, S seconds "
        "apart, the first accept wins; `broadcast`: all in reach. For example "
        "`sequential,staggered 3/8,broadcast`. Add entries where jobs wait through many declined "
        "offers. Orders that may share a run are offered to one driver at a "
        "time: it needs `preset` `express` or `max_run_jobs` 1, and no batch rounds.",
    )


@dataclass(frozen=True)
class PatiencePolicy:
    """Limits that fit the slack of a job: see `core/matching/patience.py`."""

    slack_share: float = bounded(
        0.1,
        0,
        1,
        "share",
        "The share of the time that a job has left which a limit takes: a driver's cool-down, "
        "and how long the driver is not asked again. Lower it to ask the same drivers sooner "
        "when a job is urgent.",
    )
    declined_s: float = bounded(
        1_800.0,
        0,
        86_400,
        "s",
        "How long, at most, a driver who declined a job is not asked again for it. Raise it where "
        "drivers do not change their minds.",
    )
    lapsed_s: float = bounded(
        300.0,
        0,
        86_400,
        "s",
        "How long, at most, a driver who let an offer expire is not asked again for that job. "
        "Raise it where an expired offer means no.",
    )
    asked_again_min_s: float = bounded(
        30.0,
        0,
        86_400,
        "s",
        "How long, at least, a driver is not asked again for the same job. Raise it if drivers "
        "feel pressed by urgent jobs.",
    )
    cooldown_min_s: float = bounded(
        5.0,
        0,
        86_400,
        "s",
        "The shortest cool-down, after an offer of an urgent job; `cooldown_s` wins if it is "
        "less. Raise it if drivers feel pressed.",
    )
    silence_stretch: float = bounded(
        7.5,
        1,
        1_000,
        "",
        "How many times `resume_ttl_s` a holder may be silent at most if its job has hours of "
        "slack. Raise it where connections stay bad for longer.",
    )
    risk_margin_s: float = bounded(
        600.0,
        0,
        86_400,
        "s",
        "A job is `at_risk` if its expected drop-off is less than this before its deadline. Raise "
        "it to hear of it sooner.",
    )
    pay_step_minor: int = bounded(
        50,
        0,
        1_000_000_000,
        "",
        "By how much the pay of a job rises, in minor units and up to its `pay.max_minor`, after "
        "each round that no driver took. Raise it in currencies of small units.",
    )


@dataclass(frozen=True)
class SilencePolicy:
    """When a silent driver no longer counts, and when its job goes to another driver."""

    stale_after_s: float = bounded(
        60.0,
        0.1,
        86_400,
        "s",
        "A driver whose last position is older gets no offers. Raise it for apps that report less "
        "often.",
    )
    resume_ttl_s: float = bounded(
        120.0,
        0.1,
        86_400,
        "s",
        "How long a driver, idle or on the way, may be without a socket before it is offline and "
        "its uncollected jobs are queued again; a job with slack waits for longer "
        "(`silence_stretch`). Raise it where tunnels are common.",
    )
    at_mall_silence_s: float = bounded(
        900.0,
        0.1,
        86_400,
        "s",
        "How long a driver at the mall or within 70 m of it, where reception is poor, may be "
        "without a socket before its uncollected jobs are queued again. Raise it for malls with "
        "deep garages.",
    )
    door_wait_s: float = bounded(
        300.0,
        0,
        86_400,
        "s",
        "How long a driver at the door waits for an answer after it has reported that the customer "
        "is unreachable or the address wrong; then the order's `on_undeliverable` acts. Raise it "
        "where somebody answers such reports.",
    )
    break_after_s: float = bounded(
        0.0,
        0,
        86_400,
        "s",
        "A job whose driver on the way has been without a socket for this long is reassigned if "
        "another driver arrives earlier. 0: not before `resume_ttl_s`. Set it to less than that "
        "where a late pickup costs more than a driver's wasted trip.",
    )
    transfer_before_end_s: float = bounded(
        0.0,
        0,
        86_400,
        "s",
        "Parcels on board that their driver cannot deliver before the end of its block go to "
        "another driver this long before that end. 0: never. Set it where drivers leave on time.",
    )
    stuck_after_s: float = bounded(
        0.0,
        0,
        86_400,
        "s",
        "A job whose connected driver is expected at the gate this much later than promised at "
        "acceptance is reassigned if another driver arrives earlier. 0: never. Set it where "
        "drivers stall after accepting.",
    )


@dataclass(frozen=True)
class PositionPolicy:
    """How position reports are checked, written and used."""

    eta_every_s: float = bounded(
        30.0,
        0,
        3_600,
        "s",
        "How often a position may update the expected times of the driver's jobs. 0: never. Raise "
        "it if order services get too many updates.",
    )
    max_speed_mps: float = bounded(
        70.0,
        0.1,
        100_000,
        "m/s",
        "A position that implies a higher speed is rejected. Raise it for simulations that run "
        "faster than real time.",
    )
    flush_ms: int = bounded(
        200,
        1,
        10_000,
        "ms",
        "How long positions are collected for one write to Redis. Raise it to save Redis time at "
        "the expense of fresher positions.",
    )


@dataclass(frozen=True)
class SearchPolicy:
    """How far and how often the engine searches for a driver."""

    initial_radius_m: float = bounded(
        1_500.0,
        1,
        500_000,
        "m",
        "The radius of a mall's first search. Raise it where drivers are sparse.",
    )
    max_radius_m: float = bounded(
        25_000.0,
        1,
        500_000,
        "m",
        "Drivers farther from the mall than this are not asked. Lower it where long approaches do "
        "not pay.",
    )
    candidates: int = bounded(
        8,
        1,
        1024,
        "drivers",
        "How many drivers a round ranks at first. Raise it if a better driver is often just beyond "
        "the nearest.",
    )
    max_candidates: int = bounded(
        1024,
        1,
        1024,
        "drivers",
        "How many drivers a round ranks at most. Lower it to bound the time of a round.",
    )
    retry_s: float = bounded(
        5.0,
        0.1,
        3600,
        "s",
        "How long at most a job without a driver waits until it is tried again. Raise it to save "
        "work in markets that are often short of drivers.",
    )
    max_attempts: int = bounded(
        200,
        1,
        1_000_000,
        "",
        "How often a job is offered before it ends without a driver. Lower it so that the order "
        "service learns of it sooner.",
    )


@dataclass(frozen=True)
class PoolingPolicy:
    """How many jobs a driver may carry, and how long a job is held to share a run.

    What an order may do follows from its service level: `express` is offered at once and is its
    driver's only job, `pooled` is offered at once and may share a run, `same_day` may be held.
    """

    preset: Literal["express", "pooled", "same_day"] = described(
        "pooled",
        "The service level of orders that name none. Use `express` where every order must be "
        "driven alone, `same_day` to save kilometres where deadlines are hours away.",
    )
    max_run_jobs: int = bounded(
        12,
        1,
        16,
        "jobs",
        "How many jobs of one mall a driver may carry at once, if the vehicle has the room and "
        "none is `express`. 1: no pooling. Lower it where parcels must not stay in the car for "
        "long.",
    )
    hold_max_s: float = bounded(
        43_200.0,
        0,
        86_400,
        "s",
        "How long a ready job of service level `same_day` is held at most so that it can share a "
        "run. 0: jobs are not held. Lower it where customers expect delivery within hours.",
    )
    hold_margin_s: float = bounded(
        300.0,
        0,
        86_400,
        "s",
        "A held job is released this long before it must be collected; the driver's trip to the "
        "mall must fit into this time. Raise it if released jobs become late.",
    )

    def level_of(self, need: Need) -> ServiceLevel:
        """Return the job's service level, by default the preset."""
        return ServiceLevel(need.service_level or self.preset)

    def may_hold(self, need: Need) -> bool:
        """Return whether the job may be held so that it can share a run."""
        return self.hold_max_s > 0 and self.level_of(need) is ServiceLevel.SAME_DAY


@dataclass(frozen=True)
class DurationPolicy:
    """How long driving, pickup and drop-off take where nothing better is known."""

    circuity: float = bounded(
        1.3,
        1,
        10,
        "",
        "Road distance divided by straight-line distance. Measure it in your city; rivers and "
        "motorways raise it.",
    )
    speed_mps: float = bounded(
        9.0,
        0.1,
        100_000,
        "m/s",
        "The mean speed on the road. Set it to the market's measured mean.",
    )
    speed_by_hour: tuple[float, ...] = described(
        (),
        "24 mean speeds, one for each local hour of the day, in place of `speed_mps`. Empty: all "
        "hours alike. Set it where rush hours matter.",
        unit="m/s",
    )
    store_dwell_s: float = bounded(
        120.0,
        0,
        86_400,
        "s",
        "The time at each store until it has been measured. Set it to the time at a typical "
        "counter.",
    )
    dwell_visits: int = bounded(
        20,
        0,
        100,
        "visits",
        "From this many observed visits on, a store's own dwell time replaces `store_dwell_s`. "
        "0: never. Lower it to adapt sooner.",
    )
    dropoff_dwell_s: float = bounded(
        60.0,
        0,
        86_400,
        "s",
        "The time at the customer's door. Raise it for apartment buildings.",
    )


@dataclass(frozen=True)
class BlockPolicy:
    """What a driver must have finished when its block of working time ends."""

    block_covers: Literal["dropoff", "pickup"] = described(
        "dropoff",
        "What a driver must have finished at the end of its block: its last `dropoff` or its last "
        "`pickup`. Use `pickup` where drivers may finish a delivery after their block.",
    )
    block_margin_s: float = bounded(
        0.0,
        0,
        86_400,
        "s",
        "How long before the end of the block the driver must have finished. Raise it if drivers "
        "overrun their blocks.",
    )


@dataclass(frozen=True)
class BatchPolicy:
    """Rounds: per mall at once, or all jobs of a market planned together."""

    round: Round = described(
        "instant",
        "`instant`: each mall matches its jobs at once; `batch`: all jobs of the market are "
        "planned together. Use `batch` where drivers are scarce or jobs are known ahead.",
    )
    window_ms: int = bounded(
        1_000,
        1,
        600_000,
        "ms",
        "How long a batch collects jobs before it plans. Raise it to plan more jobs together, at "
        "the expense of the first offer's delay.",
    )
    batch_jobs: int = bounded(
        100,
        1,
        10_000,
        "jobs",
        "A batch plans at once when this many jobs have come. Raise it in very busy markets.",
    )
    max_batch_jobs: int = bounded(
        400,
        1,
        4_000,
        "jobs",
        "How many jobs one batch plans at most. Lower it if planning takes too long.",
    )
    look_ahead_s: float = bounded(
        1_800.0,
        0,
        86_400,
        "s",
        "A batch also plans jobs that become ready within this time. Raise it where ready times "
        "are known early and reliable.",
    )
    send_early_s: float = bounded(
        60.0,
        0,
        86_400,
        "s",
        "A driver is offered a job this long before it must set off. Raise it if drivers set off "
        "late.",
    )
    fading_s: float = bounded(
        900.0,
        0,
        86_400,
        "s",
        "A job is offered at once if hardly any driver could still take it this much later, "
        "because blocks end. 0: never. Raise it where drivers decline often.",
    )
    soon_free_s: float = bounded(
        3_600.0,
        0,
        86_400,
        "s",
        "A driver who becomes free within this time is planned for. 0: only free drivers are. "
        "Lower it where drop-off times are hard to predict.",
    )
    soon_on_s: float = bounded(
        3_600.0,
        0,
        86_400,
        "s",
        "A driver who is expected to come on duty within this time is planned for. Lower it where "
        "drivers are unreliable about their shifts.",
    )
    wave_s: float = bounded(
        1_200.0,
        1,
        86_400,
        "s",
        "Jobs that become ready within this time of one another are assigned together, as one "
        "wave; a driver may get one job in each wave. Set it near the length of a delivery.",
    )
    waves: int = bounded(
        3,
        1,
        10,
        "waves",
        "How many waves a batch plans; the last wave has all remaining jobs. Raise it with a long "
        "`look_ahead_s`.",
    )
    deals: int = bounded(
        1,
        1,
        4,
        "plans",
        "How many plans, with shorter and longer waves, are compared for the cheapest. Raise it if "
        "there is CPU time to spare.",
    )
    bundle_jobs: int = bounded(
        1,
        1,
        4,
        "jobs",
        "How many jobs of one mall (at most `max_run_jobs`) a batch may plan together for one "
        "driver where drivers are scarce. All malls are then one problem, and instant rounds "
        "offer single jobs. 1: no bundles; with `max_run_jobs` over 1, each mall plans its own "
        "runs. Raise it where a shortage leaves jobs without a driver.",
    )


@dataclass(frozen=True)
class MarketPolicy(
    # Reversed: dataclasses take the fields of the last base first.
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
