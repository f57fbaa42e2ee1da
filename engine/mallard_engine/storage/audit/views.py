"""The views of the audit: one item and all that must agree with it, read in one atomic step.

The first read finds which keys an item refers to (its job, its offer), and the second reads all of
them in one step. Both are repeated until they agree. Nothing is written. Many items are read at
once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

from mallard_engine.core.model import Driver, Job, Position
from mallard_engine.core.pauses import Pauses
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.vehicles import DriverProfile
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import MarketKeys, place_of
from mallard_engine.storage.records.drivers import read_driver, read_position, read_profile
from mallard_engine.storage.records.jobs import causes_of, read_job, read_need
from mallard_engine.storage.records.offers import (
    OfferRecord,
    RoundOfOffers,
    read_offer,
    read_round_of_offers,
)
from mallard_engine.storage.records.packed_jobs import PACKED, fields_of, picked
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.records.places import read_pauses
from mallard_engine.storage.scripts import Script
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import JobState

V = TypeVar("V")

# How often an item that keeps changing is read before it is left out.
TRIES = 8
_DUE_KINDS = ("release", "retry", "silent", "more", "door", "return")


class Changing(Exception):
    """The item changed between all reads, so it cannot be checked now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The common part of views. ``leases``: until when each node's lease runs (epoch ms)."""

    now_ms: int
    leases: Mapping[str, int]

    @property
    def is_swept(self) -> bool:
        """Whether a node is alive that should have handled what is overdue."""
        return any(until_ms > self.now_ms for until_ms in self.leases.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView(View):
    """A job and the data that must agree with it.

    ``state``: as stored, valid or not; ``job``: None if there is no such key or it is unreadable.
    ``due``: the scores of its due entries by member. ``round``: its staggered round, if there is
    one, with the record of each live offer in ``round_offers``. ``risk_ms``: when its risk is
    looked at next; ``is_packed``: its fields are in one; ``pack_ms``: when it is to be packed;
    ``has_last_round``: a key has its last round; ``has_risk``: the version that stored it knows
    risks. ``pauses``: the market's.
    """

    id: str
    state: str | None
    job: Job | None
    ttl_ms: int
    driver: Driver | None
    offer: OfferRecord | None
    waits: bool
    is_in_waiting: bool
    due: Mapping[str, int]
    is_kept_till: int | None
    external: str | None
    is_listed: bool
    risk_ms: int | None
    has_risk: bool
    pauses: Pauses
    is_packed: bool = False
    pack_ms: int | None = None
    has_last_round: bool = False
    round: RoundOfOffers | None = None
    round_offers: tuple[OfferRecord | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The stored fields of a job that a driver or an offer names.

    ``offers``: its live offers. ``came_by``: how its holder got it, the cause of that change.
    """

    state: str
    driver: str
    attempt: int
    offers: tuple[str, ...]
    is_by_custody: bool
    is_express: bool
    came_by: str
    # Its drop-off and deadline, None if they cannot be read.
    place: tuple[float, float, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverView(View):
    """A driver and what it holds.

    ``driver``: None if it has no record. ``is_held``: whether it is in the set of its node.
    ``due_ms``: when its limits are looked at next; None: never.
    ``registered``: its entry in the register.
    """

    id: str
    driver: Driver | None
    position: Position | None
    offer: OfferRecord | None
    jobs: tuple[Held | None, ...]
    is_idle: bool
    is_coming: bool
    is_held: bool
    due_ms: int | None
    registered: DriverProfile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView(View):
    """An offer, its jobs and its driver. ``is_kept``: whether `forget` has an entry for it."""

    id: str
    offer: OfferRecord | None
    jobs: tuple[Held | None, ...]
    driver: Driver | None
    is_kept: bool


# Causes of changes that give a job to a driver.
_GIVEN_BY: Final = ("accepted", "operator_assigned", "custody", "transferred")
# The fields that make up a job's name in the wait set, besides its service.
_OF_PLACE: Final = ("priority", "created_ms", "demand")


@cache
def _look_script() -> Script:
    folder = resources.files("mallard_engine.storage") / "lua" / "audit"
    return Script.parse("look", (folder / "look.lua").read_text(encoding="utf-8"), folder)


class Look:
    """Reads one market. ``now_ms``: a simulation's clock; None: the server's clock."""

    def __init__(
        self,
        link: StoreLink,
        keys: MarketKeys,
        policy: MarketPolicy,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.keys = keys
        self.policy = policy
        self._link = link
        self._virtual_now_ms = now_ms

    async def read(self, *command: str | bytes | float) -> Any:
        """Run one read command and return its reply; that of a packed job as if it were not."""
        return self._answered(command, await self._link.call(*self._asked(command)))

    async def at_once(
        self, *commands: Sequence[str | bytes | int]
    ) -> tuple[dict[str, Any], list[Any]]:
        """Run read commands in one step.

        Returns:
            The common fields of views, and the replies; that of ``HGETALL`` is a mapping.

        Raises:
            LinkReplyError: A key has another type.
        """
        names = [str(command[1]) for command in commands]
        reply = await _look_script().run(
            self._link, [self.keys.key("nodes"), *names], [pack(list(map(self._asked, commands)))]
        )
        (seconds, micros), leases, replies = reply
        for index, (command, value) in enumerate(zip(commands, replies, strict=True)):
            if isinstance(value, Exception):
                raise value
            replies[index] = self._answered(command, value)
            if command[0] == "HGETALL":
                replies[index] = fields_of(value)
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        if self._virtual_now_ms is not None:
            now_ms = self._virtual_now_ms()
        until_ms = map(float, leases[1::2])
        common = {
            "now_ms": now_ms,
            "leases": {
                node.decode(): int(until) for node, until in zip(leases[::2], until_ms, strict=True)
            },
        }
        return common, replies

    def _asked(self, command: Sequence[str | bytes | float]) -> Sequence[str | bytes | float]:
        """Return a command that reads `packed` as well, if it reads fields of a job."""
        if command[0] in {"HGET", "HMGET"} and str(command[1]).startswith(self.keys.job("")):
            return ("HMGET", *command[1:], PACKED.decode())
        return command

    def _answered(self, command: Sequence[str | bytes | float], reply: Any) -> Any:
        if self._asked(command) is command or isinstance(reply, Exception):
            return reply
        *values, packed = reply
        found = picked(list(map(str, command[2:])), values, packed)
        return found[0] if command[0] == "HGET" else found

    async def job(self, job: str) -> JobView:
        """Return a job's view. Raises `Changing`."""
        return await _settled(lambda: self._job(job))

    async def driver(self, driver: str) -> DriverView:
        """Return a driver's view. Raises `Changing`."""
        return await _settled(lambda: self._driver(driver))

    async def offer(self, offer: str) -> OfferView:
        """Return an offer's view. Raises `Changing`."""
        return await _settled(lambda: self._offer(offer))

    async def _job(self, job: str) -> JobView | None:
        keys, key = self.keys, self.keys.job(job)
        names = ("driver", "offer", "mall", "service", "external_id", "round", *_OF_PLACE)
        before = await self.read("HMGET", key, *names)
        driver, offer, mall, service, external = [(v or b"").decode() for v in before[:5]]
        several = read_round_of_offers(before[5]) if before[5] else None
        priority, created_ms, demand = ((value or b"").decode() for value in before[6:])
        place = place_of(service, int(priority or 0), int(created_ms or 0), job, demand)
        out = dict.fromkeys([offer, *(several.live if several else ())])
        members = [f"{kind}/{mall}/{job}" for kind in _DUE_KINDS]
        members += [f"offer/{mall}/{each}/{job}" for each in out]
        common, replies = await self.at_once(
            ("HGETALL", key),
            ("PTTL", key),
            ("HGET", keys.key("drivers"), driver),
            ("HGET", keys.key("offers"), offer),
            ("ZSCORE", keys.wait(mall), place),
            ("HEXISTS", keys.key("waiting"), job),
            ("ZSCORE", keys.key("forget"), f"job/{service}/{job}"),
            ("HGET", keys.key("externals"), f"{service}/{external}"),
            ("ZSCORE", keys.key("by_age"), job),
            ("ZSCORE", keys.key("by_service"), f"{service}/{job}"),
            ("ZSCORE", keys.key("risks"), job),
            ("HGETALL", keys.key("pauses")),
            ("HEXISTS", key, PACKED.decode()),
            ("ZSCORE", keys.key("unpacked"), job),
            ("EXISTS", keys.round(job)),
            ("HMGET", keys.key("offers"), *(several.live if several else [offer])),
            *(("ZSCORE", keys.key("due"), member) for member in members),
        )
        fields, ttl, holder, record, wait, waiting, kept, taken, by_age, by_service, *rest = replies
        risk, pauses, is_packed, pack_at, has_last_round, offers, *due = rest
        if [fields.get(name.encode()) for name in names] != before:
            return None
        state = fields.get(b"state", b"").decode() or None
        readable = state in JobState.__members__.values()
        return JobView(
            **common,
            id=job,
            state=state,
            job=_job_of(fields) if readable else None,
            ttl_ms=ttl,
            driver=read_driver(holder) if holder else None,
            offer=read_offer(record) if record else None,
            waits=wait is not None,
            is_in_waiting=bool(waiting),
            due={m: int(float(at)) for m, at in zip(members, due, strict=True) if at is not None},
            is_kept_till=None if kept is None else int(float(kept)),
            external=taken.decode() if taken else None,
            is_listed=by_age is not None and by_service is not None,
            risk_ms=None if risk is None else int(float(risk)),
            has_risk=b"lead_ms" in fields,
            pauses=read_pauses(pauses),
            is_packed=bool(is_packed),
            pack_ms=None if pack_at is None else int(float(pack_at)),
            has_last_round=bool(has_last_round),
            round=several,
            round_offers=tuple(read_offer(each) if each else None for each in offers),
        )

    async def _driver(self, driver: str) -> DriverView | None:
        keys = self.keys
        before = await self.read("HGET", keys.key("drivers"), driver)
        known = read_driver(before) if before else None
        jobs = known.jobs if known else ()
        bound_for = (known and known.coming) or (jobs[0].mall if jobs else "")
        common, replies = await self.at_once(
            ("HGET", keys.key("drivers"), driver),
            ("HGET", keys.key("positions"), driver),
            ("HGET", keys.key("offers"), (known and known.offer) or ""),
            ("ZSCORE", keys.key("idle"), driver),
            ("SISMEMBER", keys.held(known.node if known else ""), driver),
            ("ZSCORE", keys.key("due"), f"driver/{driver}"),
            ("ZSCORE", keys.key("coming"), f"{bound_for}/{driver}"),
            ("HGET", keys.key("registry"), driver),
            *(_ask_held(keys, held.job) for held in jobs),
        )
        after, position, offer, idle, held, due, coming, entry, *states = replies
        if after != before:
            return None
        return DriverView(
            **common,
            id=driver,
            driver=known,
            position=read_position(position),
            offer=read_offer(offer) if offer else None,
            jobs=tuple(map(_held_of, states)),
            is_idle=idle is not None,
            is_coming=coming is not None,
            is_held=bool(held),
            due_ms=None if due is None else int(float(due)),
            registered=read_profile(entry) if entry else None,
        )

    async def _offer(self, offer: str) -> OfferView | None:
        keys = self.keys
        before = await self.read("HGET", keys.key("offers"), offer)
        known = read_offer(before) if before else None
        common, replies = await self.at_once(
            ("HGET", keys.key("offers"), offer),
            ("HGET", keys.key("drivers"), known.driver if known else ""),
            ("ZSCORE", keys.key("forget"), f"offer/{offer}"),
            *(_ask_held(keys, each.job) for each in (known.jobs if known else ())),
        )
        after, driver, kept, *jobs = replies
        if after != before:
            return None
        return OfferView(
            **common,
            id=offer,
            offer=known,
            jobs=tuple(map(_held_of, jobs)),
            driver=read_driver(driver) if driver else None,
            is_kept=kept is not None,
        )


def _ask_held(keys: MarketKeys, job: str) -> tuple[str, ...]:
    fields = ("state", "driver", "attempt", "offer", "timeline", "round", "need")
    return ("HMGET", keys.job(job), *fields)


def _held_of(reply: Sequence[bytes | None]) -> Held | None:
    state, driver, attempt, offer, timeline, several, need = (value or b"" for value in reply)
    if not state:
        return None
    causes = causes_of(timeline) if timeline else []
    known = read_need(need) if need else None
    return Held(
        state=state.decode(),
        driver=driver.decode(),
        attempt=int(attempt),
        offers=live_offers(offer.decode(), several),
        is_by_custody="custody" in causes,
        is_express=known is not None and known.service_level == ServiceLevel.EXPRESS,
        came_by=next((cause for cause in reversed(causes) if cause in _GIVEN_BY), ""),
        place=(known.lat, known.lon, known.deadline_ms) if known else None,
    )


def live_offers(offer: str, several: bytes | None) -> tuple[str, ...]:
    """Return the live offers of a job from its fields ``offer`` and ``round``."""
    if several:
        return tuple(read_round_of_offers(several).live)
    return (offer,) if offer else ()


def _job_of(fields: Mapping[bytes, bytes]) -> Job:
    return read_job([part for pair in fields.items() for part in pair])


async def _settled(read: Callable[[], Awaitable[V | None]]) -> V:
    for _ in range(TRIES):
        if (view := await read()) is not None:
            return view
    raise Changing
