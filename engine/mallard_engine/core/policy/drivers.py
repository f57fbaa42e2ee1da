"""When a driver counts as silent, how often it reports, when its block ends."""

from dataclasses import dataclass
from typing import Literal

from mallard_engine.core.bounded import bounded, described


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
