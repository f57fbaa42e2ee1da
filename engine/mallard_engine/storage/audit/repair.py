"""Repairs what the audit finds if stored records determine it; leaves the rest to people.

The records of jobs, drivers and offers are trusted, and what is derived from them is rebuilt. A
record that contradicts itself or its history is not touched, nor are unknown keys and parcels on
board without a holder: only people can decide these. A confirmed job that is gone becomes an alert.
Passes are repeated while they find something to repair, because one repair may uncover the next.
"""

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from mallard_engine.core.operator_calls import OperatorCall
from mallard_engine.ports import DueEntry, DueKind, JobRef
from mallard_engine.storage.audit.audit import Audit, Breach
from mallard_engine.storage.audit.counts import counts_of
from mallard_engine.storage.audit.mending import Did, Mending
from mallard_engine.storage.audit.rules import due_members, judge_job
from mallard_engine.storage.audit.views import Changing, Look
from mallard_engine.storage.keys import job_at
from mallard_engine.storage.records.offers import OfferRecord
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.codes import TERMINAL_KEPT_MS

ACTOR: Final = "mallard check"
_PASSES: Final = 5
_REAPED: Final = 256
_SCANNED: Final = 1_000
# With one of these the record itself is wrong, so what is derived from it would be wrong too.
_UNTRUSTED: Final = frozenset({"S7", "S9", "S11", "lifecycle", "record", "pay"})
_FORGOTTEN: Final = {"by_shop": "shop", "by_customer": "customer", "returns": "back"}


@dataclass(frozen=True, slots=True)
class Mend:
    """Something that was mended."""

    market: str
    kind: str
    id: str
    what: str

    def __str__(self) -> str:
        return f"mended  {self.market}  {self.kind} {self.id}: {self.what}"


@dataclass(frozen=True, slots=True)
class Repair:
    """What was mended, and the audit afterwards, which names what is left."""

    mends: tuple[Mend, ...]
    left: Audit


class CannotJudge(Exception):
    """The audit could not look at everything, so nothing was mended."""


async def repair(
    store: RedisStorage,
    looks: Iterable[Look],
    judge: Callable[[], Awaitable[Audit]],
    note: Callable[[Mend], None] = lambda _: None,
) -> Repair:
    """Mend what can be mended.

    Args:
        store: The storage.
        looks: One for each market.
        judge: Makes an audit of all markets.
        note: Called with each mend.

    Raises:
        CannotJudge: An audit was not complete.
        StoreUnavailable: What is mended so far stays.
    """
    by_market = {look.keys.market: _Market(store, look) for look in looks}
    mends: list[Mend] = []
    for _ in range(_PASSES):
        found = await judge()
        # L1 cannot be judged where jobs are held on purpose. Nothing that is mended depends on it.
        if left_out := {kind: n for kind, n in found.left_out.items() if n and kind != "match"}:
            raise CannotJudge(", ".join(f"{n} × {kind}" for kind, n in sorted(left_out.items())))
        done = 0
        for (market, kind, name), rules in _by_item(found.breaches).items():
            # Breaches that belong to no market (endpoints of webhooks) are listed.
            mending = by_market.get(market)
            for what in await mending.mend(kind, name, rules) if mending else ():
                mend = Mend(market, kind, name, what)
                await store.audit_log.note(_call(mend, store.now_ms()))
                mends.append(mend)
                note(mend)
                done += 1
        if not done:
            return Repair(tuple(mends), found)
    return Repair(tuple(mends), await judge())


def _by_item(breaches: Sequence[Breach]) -> dict[tuple[str, str, str], set[str]]:
    items: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for breach in breaches:
        items[breach.market, breach.kind, breach.id].add(breach.rule)
    return items


def _call(mend: Mend, now_ms: int) -> OperatorCall:
    return OperatorCall(
        id=f"call_{now_ms:014}-{secrets.token_hex(6)}",
        at_ms=now_ms,
        actor=ACTOR,
        operation="repair",
        method="",
        path=f"{mend.kind}/{mend.id}: {mend.what}"[:256],
        market=mend.market,
        status=200,
    )


class _Market:
    """Mends the items of one market, by their kinds in the audit."""

    def __init__(self, store: RedisStorage, look: Look) -> None:
        self._store = store
        self._look = look
        self._keys = look.keys
        self._market = look.keys.market
        self._mending = Mending(store.runner)
        self._by_kind: dict[str, Callable[[str, set[str]], Awaitable[Did]]] = {
            "job": self._job,
            "driver": self._driver,
            "offer": self._offer,
            "due": self._due,
            "wait": self._wait,
            "coming": self._coming,
            "by_shop": self._listed("by_shop"),
            "by_customer": self._listed("by_customer"),
            "returns": self._listed("returns"),
            "proof": self._proof,
            "external": self._external,
            "key": self._key,
            "counts": self._counts,
        }

    async def mend(self, kind: str, name: str, rules: set[str]) -> Did:
        """Mend one item; return what was done."""
        mend = self._by_kind.get(kind)
        if mend is None:
            return ()
        try:
            return await mend(name, rules)
        except (Changing, msgspec.MsgspecError, ValueError, KeyError):
            return ()  # it keeps changing or cannot be read: the next audit reports it

    async def _job(self, job: str, rules: set[str]) -> Did:
        view = await self._look.job(job)
        if view.state is None:
            return await self._lost(job)
        known = view.job
        # Audited again: the item's present breaches count.
        if known is None or _UNTRUSTED & {rule for rule, _ in judge_job(view, self._look.policy)}:
            return ()
        ref = JobRef(job, known.mall)
        if "pause" in rules and known.offer:
            await self._store.offers.withdraw(ref, known.offer, ACTOR)
            return ("its offer is withdrawn: matching is paused there",)
        expected = due_members(known.state, known.mall, job, known.offer, view.round)
        wrong = [member for member in view.due if member not in expected]
        return await self._mending.job(ref, known.state.value, known.attempt, wrong)

    async def _driver(self, driver: str, rules: set[str]) -> Did:
        view = await self._look.driver(driver)
        known = view.driver
        jobs = [held.job for held in known.jobs] if known else []
        node = known.node if known else ""
        did = await self._mending.driver(self._market, driver, node=node or "", jobs=jobs, malls=[])
        if "S2" in rules and known and view.registered:
            await self._store.register.put(
                *(self._market, driver, view.registered),
                suspended=known.suspended,
                actor=ACTOR,
            )
            did += ("its entry of the register applies again",)
        # A node without a lease is not reaped: no other node takes its drivers out of matching.
        if known and known.connected and known.node not in view.leases and "S10" in rules:
            did += await self._reaped(known.node)
        return did

    async def _reaped(self, node: str) -> Did:
        count = 0
        while (reaped := (await self._store.leases.reap(self._market, node, _REAPED))[0]) > 0:
            count += reaped
        return (f"{count} drivers of the dead node {node} are disconnected",) if count else ()

    async def _offer(self, offer: str, rules: set[str]) -> Did:
        view = await self._look.offer(offer)
        if "S6" in rules and view.offer:
            return await self._lapsed(offer, view.offer)
        jobs = [each.job for each in view.offer.jobs] if view.offer else []
        return await self._mending.offer(self._market, offer, jobs)

    async def _lapsed(self, offer: str, record: OfferRecord) -> Did:
        """Let an offer lapse whose time is over."""
        for each in record.jobs:
            mall = (await self._look.read("HGET", self._keys.job(each.job), "mall") or b"").decode()
            member = f"offer/{mall}/{offer}/{each.job}"
            entry = DueEntry(member, DueKind.OFFER, each.job, mall=mall, offer=offer)
            outcome, *_ = await self._store.deadlines.lapse(entry)
            if outcome is not None:
                return (f"lapsed: {outcome}",)
        return ()

    async def _due(self, member: str, rules: set[str]) -> Did:
        kind, _, name = member.partition("/")
        if kind == "driver":
            return await self._driver(name, rules) if "leak" in rules else ()
        job = member.rpartition("/")[2]
        if not {"leak", "S14"} & rules:
            return ()
        return await self._removed("due", member, job)

    async def _wait(self, entry: str, rules: set[str]) -> Did:
        mall, _sep, name = entry.partition("/")
        if mall:
            return await self._removed("", name, job_at(name), mall)
        if "S7" in rules:  # rounds read an old attempt
            return await self._job(name, rules)
        return await self._removed("waiting", name, name)

    async def _coming(self, entry: str, _: set[str]) -> Did:
        mall, _sep, driver = entry.partition("/")
        known = (await self._look.driver(driver)).driver
        return await self._mending.driver(
            self._market,
            driver,
            node=(known.node if known else "") or "",
            jobs=[held.job for held in known.jobs] if known else [],
            malls=[mall],
        )

    def _listed(self, kind: str) -> Callable[[str, set[str]], Awaitable[Did]]:
        async def mend(name: str, rules: set[str]) -> Did:
            if {"S11", "index"} & rules:
                return await self._removed(kind, name, name.rpartition("/")[2])
            # `forget` looks at the job again, and keeps what it still needs.
            return await self._mending.forgets(self._market, f"{_FORGOTTEN[kind]}/{name}", 0)

        return mend

    async def _proof(self, proof: str, rules: set[str]) -> Did:
        packed = await self._look.read("HGET", self._keys.key("proofs"), proof)
        if "leak" not in rules or packed is None:
            return ()
        image = msgspec.msgpack.decode(packed)
        entry = f"proof/{image.get('driver')}/{proof}"
        return await self._mending.forgets(self._market, entry, TERMINAL_KEPT_MS)

    async def _external(self, name: str, rules: set[str]) -> Did:
        job = await self._look.read("HGET", self._keys.key("externals"), name)
        if job is None:
            return ()
        if "S8" in rules:
            return await self._removed("externals", name, job.decode())
        if not await self._look.read("EXISTS", self._keys.job(job.decode())):
            return await self._lost(job.decode())
        return await self._mending.forgets(self._market, f"external/{name}", TERMINAL_KEPT_MS)

    async def _key(self, name: str, rules: set[str]) -> Did:
        kind, _, rest = name.partition(":")
        if kind == "held" and "S10" in rules:
            return await self._reaped(rest)
        if kind == "idempotency" and "S4" in rules:
            value = await self._look.read("GET", self._keys.key(name)) or b""
            return await self._lost(value.decode().partition(" ")[2])
        if "leak" in rules and rest:
            return await self._mending.ends(self._market, name, TERMINAL_KEPT_MS)
        return ()

    async def _lost(self, job: str) -> Did:
        """Raise an alert for a job that is gone before its end; only references to it are left."""
        if not job:
            return ()
        external = service = ""
        async for name, value in self._pairs("HSCAN", self._keys.key("externals")):
            external = name if value == job else external
        async for name, _ in self._pairs("ZSCAN", self._keys.key("by_service")):
            service = name.rpartition("/")[0] if name.endswith(f"/{job}") else service
        prefix = self._keys.key("idempotency:")
        named_by = [key for key in await self._keys_of(job) if key.startswith(prefix)]
        if named_by:
            service = service or named_by[0].removeprefix(prefix).rpartition(":")[0]
        service = service or external.partition("/")[0]
        return await self._mending.lost(
            self._market, job, service=service, external=external, named_by=named_by
        )

    async def _keys_of(self, job: str) -> list[str]:
        """Return the idempotency keys of a job."""
        found, cursor = [], b"0"
        while True:
            match = self._keys.key("idempotency:*")
            cursor, names = await self._look.read("SCAN", cursor, "MATCH", match, "COUNT", _SCANNED)
            for name in names:
                value = await self._look.read("GET", name) or b""
                if value.decode(errors="replace").partition(" ")[2] == job:
                    found.append(name.decode())
            if cursor == b"0":
                return found

    async def _pairs(self, command: str, key: str) -> AsyncIterator[tuple[str, str]]:
        """Yield what is in a hash or a set: names with their values or scores."""
        cursor = b"0"
        while True:
            cursor, flat = await self._look.read(command, key, cursor, "COUNT", _SCANNED)
            texts = [each.decode(errors="replace") for each in flat]
            for pair in zip(texts[::2], texts[1::2], strict=True):
                yield pair
            if cursor == b"0":
                return

    async def _counts(self, _: str, __: set[str]) -> Did:
        event, counts = await counts_of(self._look)
        return await self._mending.counts(self._market, event, counts) if counts else ()

    async def _removed(self, name: str, entry: str, job: str, mall: str = "") -> Did:
        state = await self._look.read("HGET", self._keys.job(job), "state")
        return await self._mending.entry(
            self._market, name, entry, job=job, state=(state or b"").decode(), mall=mall
        )
