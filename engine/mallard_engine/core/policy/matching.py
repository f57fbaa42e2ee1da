"""How far the search goes, what shares a run, how long visits take, when rounds are batches."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mallard_engine.core.bounded import bounded, described
from mallard_engine.core.model import Need
from mallard_protocol.codes import ServiceLevel

Round: TypeAlias = Literal["instant", "batch"]
"""How jobs are matched: at once per mall, or together per market."""


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
        "How long a job without a driver waits for the next try if nothing else causes one; "
        "longer where many jobs wait. Raise it to save work in markets that are "
        "often short of drivers.",
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
        120.0,
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
        "Runs and batches are also planned with jobs that become ready, and runs with jobs whose "
        "shop opens again, within this time. Raise it where these times are known early and "
        "reliable.",
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
