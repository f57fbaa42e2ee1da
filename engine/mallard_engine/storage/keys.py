"""The names of a market's keys.

All share one hash tag, and so one slot: a script is one atomic step. An id becomes part of a key
only after it has matched the contract's pattern: none holds a brace, a glob character or a slash.
"""

from dataclasses import dataclass, field

_PREFIX = "mallard"
# Before the keys of webhooks, which are of no market: no id holds a slash.
WEBHOOKS = f"{_PREFIX}:{{/webhooks}}:"
# The first keys of every transition, in the order of ``lua/lib/base.lua``.
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
    """The keys of one market; ``block`` are those of ``BLOCK``."""

    market: str
    block: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", tuple(map(self.key, BLOCK)))

    def key(self, name: str) -> str:
        """Return a key of this market.

        | Name | Type | Content |
        |---|---|---|
        | ``drivers`` | hash | record by id |
        | ``positions`` | hash | stored fixes by driver |
        | ``idle`` | GEO | drivers who may be offered a job now |
        | ``nodes``, ``leases`` | zset, hash | end and begin of each node's lease |
        | ``peers`` | zset | in a server's first market: its nodes as group/node, until when |
        | ``changed`` | hash | in a server's first market: changes by operators, by market |
        | ``due`` | zset | due entries |
        | ``offers`` | hash | record by id |
        | ``waiting`` | hash | what a round reads of a queued job |
        | ``counts`` | hash | jobs by state |
        | ``events`` | stream | events |
        | ``moves`` | stream | where drivers with jobs are, for readers of events; a thousand |
        | ``forget`` | zset | until when data is kept |
        | ``externals`` | hash | job by service/external id |
        | ``coming`` | zset by name | mall/driver: who may be offered one more job on its way there
        |
        | ``holds`` | hash | until when and why a store is held, by mall/store (`read_holds`) |
        | ``dwell`` | hash | dwell sketch by mall/store (`DwellSketch`) |
        | ``by_service``, ``by_age``, ``by_external`` | zset by name | jobs, newest last |
        | ``by_shop`` | zset by name | mall/store/job: what the counter of a shop is shown |
        | ``by_customer`` | zset by name | ref/service/job: the jobs of a customer |
        | ``returns`` | zset by name | mall/store/job: what goes back to a place |
        | ``proofs`` | hash | uploaded image by id (`UploadedImage`) |
        | ``unused_proofs`` | zset by name | driver/proof: what no report has named yet |
        | ``gone_proofs`` | set | images whose files are to be removed |
        | ``link_key`` | string | what signs the links of images |
        | ``tracked`` | hash | job by the token of its customer's link |
        | ``open`` | zset by name | service/job: what counts towards the quota |
        | ``open_seen`` | string | up to where `forget` was read for ``open`` |
        | ``risks`` | zset | when the risk of each open job may change next |
        | ``alerted`` | zset | unknown jobs that drivers claim to hold, job/driver, since when |
        | ``registry`` | hash | entry of the operators' register by driver (`DriverProfile`) |
        | ``alerts`` | hash | alerts by id, and how many were ``raised`` |
        | ``alerts_open``, ``alerts_done`` | zset | their ids by age |
        | ``dead_letters`` | hash | what operators may retry, by id |
        | ``policy`` | hash | what operators set of the policy: the ``version``, each by number |
        | ``policy_nodes`` | hash | the version that each node uses |
        | ``pauses`` | hash | where operators have paused matching (`Pauses`) |
        | ``archive`` | hash | how long ended jobs wait for the archive; how many left without it |
        | ``unarchived`` | zset | ended jobs that the archive lacks, by their last change |
        | ``unpacked`` | zset | ended jobs that are to be packed, by when |
        | ``lineage`` | hash | the ``server`` seen last, when writes were last found ``lost`` |
        """
        return f"{_PREFIX}:{{{self.market}}}:{name}"

    def wait(self, mall: str) -> str:
        """Return the key of the queued jobs of a mall (zset by name, see `place_of`)."""
        return self.key(f"queue:{mall}")

    def job(self, job: str) -> str:
        """Return the key of a job (hash; packed some time after its end: `packed_jobs.py`)."""
        return self.key(f"job:{job}")

    def round(self, job: str) -> str:
        """Return the key of the last round of a job, for explain (string)."""
        return self.key(f"round:{job}")

    def idempotency(self, service: str, digest: str) -> str:
        """Return the key of a service's idempotency key (string)."""
        return self.key(f"idempotency:{service}:{digest}")

    def stored(self, service: str) -> str:
        """Return the key of the bytes that a service has submitted, by day (hash)."""
        return self.key(f"stored:{service}")

    def alias(self, service: str, driver: str) -> str:
        """Return the key of the name that a service sees instead of a driver's id (string)."""
        return self.key(f"alias:{service}/{driver}")

    def heading(self, driver: str) -> str:
        """Return the key of a driver's heading, while it is fresh (string)."""
        return self.key(f"heading:{driver}")

    def guesses(self, of: str) -> str:
        """Return the key of wrong codes at the counter, of a job or of a mall/store (string)."""
        return self.key(f"guesses:{of}")

    def role(self, role: str) -> str:
        """Return the key of the node that has a role of the market for now (string)."""
        return self.key(f"role:{role}")

    def pushes(self, node: str) -> str:
        """Return the key of the pushes for drivers whose sockets a node holds (stream)."""
        return self.key(f"push:{node}")

    def held(self, node: str) -> str:
        """Return the key of the drivers whose sockets a node holds (set)."""
        return self.key(f"held:{node}")


def place_of(service: str, priority: int, created_ms: int, job: str, demand: str) -> str:
    """Return the name of a queued job in its mall's wait set.

    Names sort by service, then by priority and age. The last part is what the job demands of a
    vehicle (`Need.demand`).
    """
    return f"{service}/{999 - priority:03}{created_ms:014}/{job}/{demand}"


def job_at(place: str) -> str:
    """Return the job of a name in a wait set."""
    return place.split("/", 3)[2]
