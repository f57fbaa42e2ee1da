"""How offers are made, and how soon a driver is asked again."""

from dataclasses import dataclass

from mallard_engine.core.bounded import bounded, described


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
        "it to be warned sooner.",
    )
    pay_step_minor: int = bounded(
        50,
        0,
        1_000_000_000,
        "",
        "By how much the pay of a job rises, in minor units and up to its `pay.max_minor`, after "
        "each round that no driver took. Raise it in currencies of small units.",
    )
