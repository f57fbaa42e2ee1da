"""The audit behind `mallard check`: a live store against S1–S14, bounded and read only.

Everything is looked at once, each thing with all that must agree with it in one atomic step. What
looks wrong is looked at again a moment later, and only what is wrong both times is a breach: so
what was merely under way is not named.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.market_policy import MarketPolicy
from engine.ports import StoreUnavailable
from engine.store.audit_rules import judge_driver, judge_job, judge_offer
from engine.store.audit_traces import (
    judge_coming,
    judge_counts,
    judge_due,
    judge_events,
    judge_external,
    judge_key,
    judge_wait,
)
from engine.store.audit_views import Changing, Look
from engine.store.keys import MarketKeys

DEFAULT_LIMIT: Final = 10_000
_SETTLE_S: Final = 1.0
_AT_ONCE: Final = 16
_TIMEOUT_S: Final = 10.0

Judgement = Iterable[tuple[str, str]]
Judge = Callable[[str], Awaitable[Judgement]]


@dataclass(frozen=True, slots=True, order=True)
class Breach:
    """A rule that does not hold. ``kind`` and ``id`` name the thing, ``what`` says what is wrong.

    The rules are those of docs/promises.md.
    """

    rule: str
    market: str
    kind: str
    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found. ``looked_at``: how many things of each kind; ``cut``: the kinds of which
    there were more than the limit."""

    breaches: tuple[Breach, ...]
    looked_at: Mapping[str, int]
    cut: tuple[str, ...]


async def audit(
    url: str,
    policies: Mapping[str, MarketPolicy],
    *,
    limit: int = DEFAULT_LIMIT,
    settle_s: float = _SETTLE_S,
    now_ms: Callable[[], int] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Audit:
    """Audit the markets of a store; at most ``limit`` things of each kind in each.

    ``policies`` are those that the nodes run with. Between the two looks lie ``settle_s``.
    ``now_ms`` and ``sleep``: a simulation's clock.
    :raises StoreUnavailable:
    """
    looked_at: Counter[str] = Counter()
    breaches: list[Breach] = []
    cut: set[str] = set()
    try:
        async with redis.asyncio.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        ) as client:
            for market, policy in policies.items():
                look = Look(client, MarketKeys(market), policy, now_ms)
                auditor = _MarketAudit(look, limit)
                breaches += await auditor.run(lambda: sleep(settle_s))
                looked_at.update(auditor.looked_at)
                cut |= auditor.cut
    except (redis.RedisError, OSError, ValueError) as error:  # the last: no such kind of URL
        raise StoreUnavailable(str(error)) from error
    return Audit(tuple(sorted(breaches)), dict(looked_at), tuple(sorted(cut)))


class _MarketAudit:
    """One market's audit."""

    def __init__(self, look: Look, limit: int) -> None:
        self.looked_at: Counter[str] = Counter()
        self.cut: set[str] = set()
        self._look = look
        self._limit = limit
        self._judges: dict[str, Judge] = {
            "job": self._job,
            "driver": self._driver,
            "offer": self._offer,
            "due": lambda member: judge_due(look, member),
            "wait": lambda entry: judge_wait(look, entry),
            "coming": lambda entry: judge_coming(look, entry),
            "external": lambda name: judge_external(look, name),
            "key": lambda name: judge_key(look, name),
            "counts": lambda _: judge_counts(look),
            "events": lambda _: judge_events(look, limit),
        }

    async def run(self, settle: Callable[[], Awaitable[None]]) -> list[Breach]:
        """Look at everything, let it settle, and look again at what looked wrong."""
        first = await self._judge_all(await self._everything())
        if not first:
            return []
        await settle()
        suspects = {(breach.kind, breach.id): None for breach in first}
        seen = {(breach.rule, breach.kind, breach.id) for breach in first}
        again = await self._judge_all(suspects)
        return [breach for breach in again if (breach.rule, breach.kind, breach.id) in seen]

    # -- what there is

    async def _everything(self) -> dict[tuple[str, str], None]:
        """Every thing to look at, as (kind, id), once, in order."""
        look, keys, found = self._look, self._look.keys, dict[tuple[str, str], None]()

        def add(kind: str, names: Iterable[str]) -> None:
            found.update(((kind, name), None) for name in names)

        prefix = keys.key("")
        names = await self._some("key", look.client.scan_iter(f"{prefix}*", count=1_000))
        short = [name.removeprefix(prefix) for name in names]
        add("key", short)
        newest = await look.client.zrange(keys.key("by_age"), 0, self._limit - 1, desc=True)
        add("job", (job.decode() for job in newest))
        add("job", (name.removeprefix("job:") for name in short if name.startswith("job:")))
        for kind, name in (("offer", "offers"), ("external", "externals"), ("driver", "drivers")):
            add(kind, await self._some(kind, _fields(look.client, keys.key(name))))
        add("driver", await self._some("driver", _members(look.client, keys.key("idle"))))
        coming = await self._some("coming", _members(look.client, keys.key("coming")))
        add("coming", coming)
        add("driver", (entry.partition("/")[2] for entry in coming))
        add("due", await self._some("due", _members(look.client, keys.key("due"))))
        waiting = await self._some("wait", _fields(look.client, keys.key("waiting")))
        add("wait", (f"/{job}" for job in waiting))
        for name in short:
            if name.startswith("wait:"):
                jobs = await self._some("wait", _members(look.client, keys.key(name)))
                add("wait", (f"{name.removeprefix('wait:')}/{place}" for place in jobs))
        add("counts", [keys.market])
        add("events", [keys.market])
        self.looked_at.update(kind for kind, _ in found)
        return found

    async def _some(self, kind: str, names: AsyncIterator[Any]) -> list[str]:
        """Up to the limit of the names."""
        some: list[str] = []
        async for name in names:
            if len(some) == self._limit:
                self.cut.add(kind)
                break
            some.append(name.decode())
        return some

    # -- judging

    async def _judge_all(self, things: Iterable[tuple[str, str]]) -> list[Breach]:
        rest = iter(things)
        breaches: list[Breach] = []
        while bite := list(islice(rest, _AT_ONCE)):
            for some in await asyncio.gather(*(self._judge(kind, name) for kind, name in bite)):
                breaches += some
        return breaches

    async def _judge(self, kind: str, name: str) -> list[Breach]:
        try:
            found = list(await self._judges[kind](name))
        except Changing:
            return []
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            # The message may quote what was read: names and addresses are nobody's business here.
            found = [("record", f"it cannot be read: {type(error).__name__}")]
        return [Breach(rule, self._look.keys.market, kind, name, what) for rule, what in found]

    async def _job(self, job: str) -> Judgement:
        return judge_job(await self._look.job(job), self._look.policy)

    async def _driver(self, driver: str) -> Judgement:
        return judge_driver(await self._look.driver(driver), self._look.policy)

    async def _offer(self, offer: str) -> Judgement:
        return judge_offer(await self._look.offer(offer))


async def _fields(client: Any, key: str) -> AsyncIterator[bytes]:
    async for field, _ in client.hscan_iter(key, count=1_000):
        yield field


async def _members(client: Any, key: str) -> AsyncIterator[bytes]:
    async for member, _ in client.zscan_iter(key, count=1_000):
        yield member
