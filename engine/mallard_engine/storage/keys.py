"""The names of a market's keys. All share one hash tag: one slot, so a script is one atomic step.

Ids reach a key only after the contract's pattern has let them through, so none of them can hold a
brace, a glob or a slash.
"""

from dataclasses import dataclass, field

_PREFIX = "mallard"
# What every transition declares first, in the order that ``lua/lib/base.lua`` knows.
BLOCK = (
    "drivers",
    "positions",
    "idle",
    "nodes",
    "due",
    "offers",
    "waiting",
    "counts",
    "events",
    "push",
    "forget",
    "externals",
    "coming",
)


@dataclass(frozen=True, slots=True)
class MarketKeys:
    """The keys of one market.

    ``block``: those of ``BLOCK``.
    """

    market: str
    block: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", tuple(map(self.key, BLOCK)))

    def key(self, name: str) -> str:
        """A key of this market: ``drivers`` (hash: record by id), ``positions`` (hash), ``idle``
        (GEO: who may be offered something now), ``nodes`` (zset: lease), ``due`` (zset), ``offers``
        (hash), ``waiting`` (hash: what a round needs of a queued job), ``counts`` (hash),
        ``events``, ``push`` (streams), ``forget`` (zset: what is kept till when), ``externals``
        (hash: job by service/external id),
        ``coming`` (zset by name, mall/driver: who may be offered one more job on its way there),
        ``holds`` (hash: till when and why, by mall/store), ``dwell`` (hash: how long drivers stay,
        by mall/store; see ``core/dwell.py``), ``by_service``, ``by_age``,
        ``by_external`` (zsets by name: jobs newest last; external id/service/job), ``leases``
        (hash: when each node's lease began),
        ``open`` (zset by name, service/job: what counts towards the quota), ``open_seen`` (string:
        up to where `forget` was read for it), ``alerted`` (zset: unknown jobs that drivers claim to
        hold, job/driver, since when), ``lineage`` (hash: the ``server`` last seen, when
        writes were last found ``lost``).
        """
        return f"{_PREFIX}:{{{self.market}}}:{name}"

    def wait(self, mall: str) -> str:
        """The queued jobs of a mall (zset by name, see `place_of`)."""
        return self.key(f"queue:{mall}")

    def job(self, job: str) -> str:
        """One job (hash)."""
        return self.key(f"job:{job}")

    def round(self, job: str) -> str:
        """The last round of a job, for explain (string)."""
        return self.key(f"round:{job}")

    def idempotency(self, service: str, digest: str) -> str:
        """What a service's idempotency key was used for (string)."""
        return self.key(f"idempotency:{service}:{digest}")

    def stored(self, service: str) -> str:
        """What a service has submitted, in bytes by day (hash)."""
        return self.key(f"stored:{service}")

    def held(self, node: str) -> str:
        """The drivers whose sockets a node holds (set)."""
        return self.key(f"held:{node}")


def place_of(service: str, priority: int, created_ms: int, job: str, demand: str) -> str:
    """A queued job's name in its mall's wait set: by service, in that by priority and age; at the
    end what it demands of a vehicle (`Need.demand`)."""
    return f"{service}/{999 - priority:03}{created_ms:014}/{job}/{demand}"


def job_at(place: str) -> str:
    """The job of a name in a wait set."""
    return place.split("/", 3)[2]
