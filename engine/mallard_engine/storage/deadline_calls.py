"""What time and failure ask of the store: due entries, leases, pushes on their way."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from mallard_engine.core.model import Need
from mallard_engine.ports import Beat, DueEntry, Effects, JobRef, Offered, PushEntry, Standing
from mallard_engine.storage.batch_calls import BatchCalls
from mallard_engine.storage.calls import EVENTS_KEPT_MS
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.driver_calls import DriverCalls
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records import pack, read_push
from mallard_engine.storage.round_calls import OfferedRun, RoundCalls
from mallard_protocol.lifecycle import Outcome

LEASE_MS = 1_500
# An overdue entry that a sweeper has taken up is nobody else's for this long.
_AGAIN_MS = 2_000
# A name in the index of external ids whose job is still listed is looked at again after this.
_LOOK_AGAIN_MS = 3_600_000
_FORGET_LIMIT = 256
_PUSHES_A_READ = 500
# From so many malls on the jobs that wait are asked where, and not each mall how many wait.
_MANY_MALLS = 32


class UpkeepCalls(DriverCalls, RoundCalls, BatchCalls):
    """The sweeper's, the heartbeat's and the relay's side of
    :class:`mallard_engine.ports.Store`."""

    # How long a beat keeps a node alive; a simulation beats more rarely.
    lease_ms: int = LEASE_MS
    # A second line: a blocking read must not hold up the first.
    _tail: Link

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        """See :meth:`mallard_engine.ports.Store.due`."""
        args = {"limit": limit, "again_ms": _AGAIN_MS}
        members = await self._plain("due", [self._keys[market].key("due")], args)
        return [_entry(member.decode(errors="replace")) for member in members]

    async def lapse(self, entry: DueEntry) -> tuple[Outcome | None, int, Effects]:
        """See :meth:`mallard_engine.ports.Store.lapse`."""
        args = {"offer": entry.offer, "member": entry.member}
        reply = await self._on_job("lapse", JobRef(entry.id, entry.mall), args)
        if reply.verdict in {"gone", "early"}:
            return None, 0, reply.effects
        return Outcome(reply.verdict), reply.rest[0], reply.effects

    async def offer_more(self, entry: DueEntry) -> Offered:
        """See :meth:`mallard_engine.ports.Store.offer_more`."""
        ref = JobRef(entry.id, entry.mall)
        reply = await self._on_job("offer_more", ref, {"member": entry.member})
        return Offered(reply.verdict, None, reply.effects)

    async def expire(self, ref: JobRef, reason: str, max_attempts: int) -> Effects | None:
        """See :meth:`mallard_engine.ports.Store.expire`."""
        args = {"reason": reason, "max_attempts": max_attempts}
        reply = await self._on_job("expire", ref, args)
        return reply.effects if reply.verdict == "ok" else None

    async def queue(self, ref: JobRef) -> Effects:
        """See :meth:`mallard_engine.ports.Store.queue`."""
        return (await self._on_job("queue", ref, {})).effects

    async def next_opening(
        self, ref: JobRef, attempt: int, *, was: Need, need: Need, release_ms: int
    ) -> Effects | None:
        """See :meth:`mallard_engine.ports.Store.next_opening`."""
        args = {"attempt": attempt, "was_ready_ms": was.ready_ms, "release_ms": release_ms}
        reply = await self._on_job("next_opening", ref, args, [pack(need)])
        return reply.effects if reply.verdict == "ok" else None

    async def silence(self, entry: DueEntry) -> Effects:
        """See :meth:`mallard_engine.ports.Store.silence`."""
        ref = JobRef(entry.id, entry.mall)
        return (await self._on_job("silence", ref, {"member": entry.member})).effects

    async def driver_due(self, market: str, driver: str) -> Effects:
        """See :meth:`mallard_engine.ports.Store.driver_due`."""
        keys = self._keys[market]
        return (await self._transition("driver_due", keys, (), {"driver": driver})).effects

    async def beat(self, market: str, node: str) -> Beat:
        """See :meth:`mallard_engine.ports.Store.beat`."""
        names = ("nodes", "leases", "events", "lineage")
        known_ms = self._lost_ms.get(market, 0)
        args = {
            "node": node,
            "lease_ms": self.lease_ms,
            "kept_ms": EVENTS_KEPT_MS,
            "lost": known_ms,
            "heard": self._heard_events.get(market),
        }
        keys = list(map(self._keys[market].key, names))
        now, since_ms, lost_ms, dead = await self._plain("beat", keys, args)
        self._heard(now)
        if lost_ms != known_ms:
            self._lost_ms[market] = lost_ms
            self._heard_events.pop(market, None)
        standing = Standing(since_ms, lost_ms, self._line)
        return Beat(now, standing, tuple(name.decode() for name in dead))

    async def reap(self, market: str, node: str, limit: int) -> tuple[int, Effects]:
        """See :meth:`mallard_engine.ports.Store.reap`."""
        keys = self._keys[market]
        drivers = await self._link.call("SRANDMEMBER", keys.held(node), limit)
        if not drivers:
            await self._leave(keys, node, dead=True)
            return 0, Effects()
        args = {"node": node, "closed": [(driver.decode(), 0) for driver in drivers]}
        reply = await self._transition("disconnect", keys, [keys.held(node)], args)
        return 0 if reply.verdict == "alive" else len(drivers), reply.effects

    async def leave(self, market: str, node: str) -> bool:
        """See :meth:`mallard_engine.ports.Store.leave`."""
        return await self._leave(self._keys[market], node)

    async def _leave(self, keys: MarketKeys, node: str, **dead: bool) -> bool:
        names = [keys.key("nodes"), keys.held(node), keys.key("leases")]
        return bool(await self._plain("leave", names, {"node": node, **dead}))

    async def waiting(self, market: str, malls: Sequence[str]) -> Sequence[int]:
        """See :meth:`mallard_engine.ports.Store.waiting`."""
        keys = self._keys[market]
        # A driver in a city reaches hundreds of malls, and jobs wait at few of them or at none.
        if (limit := len(malls)) >= _MANY_MALLS:
            names = [keys.key("waiting")]
            total, waiting = await self._plain("waiting_malls", names, {"limit": limit})
            if total <= limit:
                counts = Counter(waiting)
                return [counts[mall.encode()] for mall in malls]
        calls = [self._link.call("ZCARD", keys.wait(mall)) for mall in malls]
        return [int(count) for count in await asyncio.gather(*calls)]

    async def any_free(self, market: str, drivers: Sequence[str]) -> bool:
        """See :meth:`mallard_engine.ports.Store.any_free`."""
        scores = await self._link.call("ZMSCORE", self._keys[market].key("idle"), *drivers)
        return any(score is not None for score in scores)

    async def push_head(self, market: str) -> str:
        """See :meth:`mallard_engine.ports.Store.push_head`."""
        entries = await self._link.call(
            "XREVRANGE", self._keys[market].key("push"), "+", "-", "COUNT", 1
        )
        return entries[0][0].decode() if entries else "0-0"

    async def pushes(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        """See :meth:`mallard_engine.ports.Store.pushes`."""
        markets = {self._keys[market].key("push").encode(): market for market in cursors}
        reply = await self._tail.call(
            "XREAD", "COUNT", _PUSHES_A_READ, "BLOCK", block_ms, "STREAMS", *markets,
            *cursors.values(),
        )  # fmt: skip
        entries = []
        for stream, items in reply or ():
            for cursor, (_, body, _, card) in items:
                push = read_push(body, card)
                if push.offer:
                    names = tuple([job.job for job in push.offer.jobs])
                    self._remember(push.offer.offer, OfferedRun(names, push.offer.mall))
                entries.append(PushEntry(markets[stream], cursor.decode(), push))
        return entries

    async def dwells(self, market: str) -> Mapping[str, bytes]:
        """See :meth:`mallard_engine.ports.Store.dwells`."""
        flat = await self._link.call("HGETALL", self._keys[market].key("dwell"))
        return {k.decode(): v for k, v in zip(flat[::2], flat[1::2], strict=True)}

    async def forget(self, market: str) -> int:
        """See :meth:`mallard_engine.ports.Store.forget`."""
        keys = self._keys[market]
        lists = ("by_service", "by_age", "by_external", "open")
        names = ("forget", "offers", "externals", "holds", *lists)
        args = {"limit": _FORGET_LIMIT, "again_ms": _LOOK_AGAIN_MS}
        return int(await self._plain("forget", list(map(keys.key, names)), args))


def _entry(member: str) -> DueEntry:
    """A due entry: ``driver/<id>``, ``offer/<mall>/<offer>/<job>`` or ``<kind>/<mall>/<job>``.

    One of another form is ``unknown``: it must not keep those that came with it from their turn.
    """
    match member.split("/"):
        case ["driver", driver]:
            return DueEntry(member, "driver", driver)
        case ["offer", mall, offer, job]:
            return DueEntry(member, "offer", job, mall=mall, offer=offer)
        case [kind, mall, job]:
            return DueEntry(member, kind, job, mall=mall)
        case _:
            return DueEntry(member, "unknown", "")
