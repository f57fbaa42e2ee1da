"""Settings of how safely a market's data is stored."""

from dataclasses import dataclass
from typing import Literal

from mallard_engine.core.bounded import bounded, described

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class StoragePolicy:
    """What is waited for before an order, an accepted offer or a parcel's step is confirmed."""

    durability: Literal["none", "replica", "disk"] = described(
        "none",
        "Where a submission, an accept or a parcel's step must be stored before it is confirmed. "
        "`none`: on the primary of the market. `replica`: on its replicas as well, so "
        "that a failover does not lose it; use it with Sentinel and in a cluster. `disk`: in the "
        "synced append-only file (Redis 7.2 or Valkey); use it where a power cut must lose "
        "nothing. See the guide to high availability for what each costs.",
    )
    ended_kept_days: int = bounded(
        7,
        7,
        90,
        "d",
        "How long a job can be read after its end, and how long its service's quota counts it; "
        "never less than the seven days of the contract. What an archive still lacks is kept for "
        "`archive_hold_days` more. Raise it if claims come later and there is no archive: a job "
        "takes two kilobytes of Redis.",
    )
    pack_after_s: float = bounded(
        3_600.0,
        0,
        604_800,
        "s",
        "How long after its end a job is packed. A packed job takes a quarter of the memory of "
        "Redis, and twice the time to read. A later change unpacks it for ten minutes. 0: never. "
        "Lower it if Redis is short of memory, raise it if ended jobs are read often.",
    )

    @property
    def ended_kept_ms(self) -> int:
        """`ended_kept_days` in milliseconds."""
        return self.ended_kept_days * _DAY_MS
