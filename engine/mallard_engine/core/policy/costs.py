"""The costs that ranking, plans and runs weigh, in seconds of travel time."""

from dataclasses import dataclass
from typing import Literal

from mallard_engine.core.bounded import bounded, check_bounds, described


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
