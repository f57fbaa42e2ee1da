"""The audit behind `mallard check`: checks a live storage against S1–S14 and writes nothing.

Each item is checked once, in one atomic step with all data that must agree with it. A suspect item
is checked again a moment later, and only a deviation that is still there is a breach, so that a
transition in progress is not reported. The storage is read in pages: neither the memory used nor
the duration of a step grows with it.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec

from mallard_engine.core.places.mall import Mall
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage import schema
from mallard_engine.storage.archive_queue import read_lag
from mallard_engine.storage.audit.archive import judge_unarchived
from mallard_engine.storage.audit.counts import judge_counts
from mallard_engine.storage.audit.matches import Matches
from mallard_engine.storage.audit.rules import judge_driver, judge_job, judge_offer
from mallard_engine.storage.audit.traces import (
    PAGE,
    Changes,
    is_judged_elsewhere,
    judge_by_customer,
    judge_by_shop,
    judge_coming,
    judge_due,
    judge_events,
    judge_external,
    judge_key,
    judge_proof,
    judge_returns,
    judge_wait,
    pages_of_jobs,
)
from mallard_engine.storage.audit.views import Changing, Look, View
from mallard_engine.storage.audit.webhooks import (
    NO_MARKET,
    endpoints,
    judge_owners,
    judge_webhook,
    webhook_look,
)
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import Store, StoreLink
from mallard_engine.storage.fitness import inspect
from mallard_engine.storage.keys import MarketKeys

_SETTLE_S: Final = 1.0
_DEADLINE_S: Final = 10.0
_SILENCE_S: Final = 5.0
# An event stream holds several changes of each job.
_EVENTS_A_JOB: Final = 8
_NO_LIMIT: Final = 1 << 62
# L1 allows a second; a busy node, or a pass through a long queue, may take longer.
_PATIENCE_S: Final = 5.0
_NO_MALLS: Final[Mapping[str, Sequence[Mall]]] = MappingProxyType({})
# More suspect items than this in a market are only counted.
_MOST_SUSPECTS: Final = 10_000

Judgement = Iterable[tuple[str, str]]
Judge = Callable[[str], Awaitable[Judgement]]
Item = tuple[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Breach:
    """A rule that does not hold. ``kind`` and ``id`` name the item, ``what`` the deviation.

    The rules are the invariants of docs/architecture.md.
    """

    rule: str
    market: str
    kind: str
    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit.

    ``looked_at`` and ``left_out`` count the items of each kind that were checked and that were not:
    beyond the limit, or changing at each read. ``warnings``: findings about the server's
    configuration.
    """

    breaches: tuple[Breach, ...]
    looked_at: Mapping[str, int]
    left_out: Mapping[str, int]
    warnings: tuple[str, ...] = ()


async def audit(
    url: str,
    policies: Mapping[str, MarketPolicy],
    *,
    limit: int | None = None,
    settle_s: float = _SETTLE_S,
    now_ms: Callable[[], int] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    embedded: bool = False,
    malls: Mapping[str, Sequence[Mall]] = _NO_MALLS,
    patience_s: float = _PATIENCE_S,
) -> Audit:
    """Audit markets: everything, or at most ``limit`` items of each kind, of jobs the newest.

    Args:
        url: The storage.
        policies: The policies of the nodes, by market.
        malls: The malls of each market at which waiting jobs are compared with free drivers.
        limit: How many items of each kind are checked; None: all.
        settle_s: The time between the two checks of a suspect item.
        patience_s: How long a free driver and a job that fit may be unmatched (L1).
        now_ms: A simulation's clock; None: the server's.
        sleep: A simulation's sleep.
        embedded: The server is a node's own.

    Raises:
        StoreUnavailable: Also for a schema that this version does not read.
    """
    looked_at: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    breaches: list[Breach] = []
    try:
        async with patient_link(url) as link:
            await schema.check(link)
            demands = {policy.durability for policy in policies.values()}
            found = await inspect(link, embedded=embedded, demands=demands)
            texts = [finding.text for finding in found]
            for market, policy in policies.items():
                texts += await _archive_texts(link, market, policy)
                look = Look(link, MarketKeys(market), policy, now_ms)
                auditor = _MarketAudit(look, limit)
                matches = Matches(look, malls.get(market, ()), auditor.limit)
                await matches.look()
                breaches += await auditor.run(lambda: sleep(settle_s))
                breaches += await _unmatched(matches, look, patience_s, sleep)
                auditor.left_out.update(matches.left_out)
                auditor.looked_at["match"] = matches.looked_at
                looked_at.update(auditor.looked_at)
                left_out.update(auditor.left_out)
            of_webhooks = _WebhookAudit(webhook_look(link, now_ms), limit)
            breaches += await of_webhooks.run(lambda: sleep(settle_s))
            looked_at["webhook"] = of_webhooks.looked_at
    except (LinkReplyError, ValueError) as error:  # ValueError: an unknown kind of URL
        raise StoreUnavailable(str(error)) from error
    return Audit(tuple(sorted(breaches)), dict(looked_at), dict(left_out), tuple(texts))


async def _archive_texts(link: StoreLink, market: str, policy: MarketPolicy) -> list[str]:
    """Return the warnings about the archive of a market."""
    lag = await read_lag(link, MarketKeys(market), policy.ended_kept_ms)
    seconds, _ = await link.call("TIME")
    text = lag.text(market, int(seconds) * 1000) if lag else None
    lost = f"{lag.lost} jobs of {market} left without being archived" if lag and lag.lost else None
    return [it for it in (text, lost) if it]


async def _unmatched(
    matches: Matches, look: Look, patience_s: float, sleep: Callable[[float], Awaitable[None]]
) -> list[Breach]:
    """Return the waiting jobs that a free driver could have taken for ``patience_s``."""
    if not matches.any:
        return []
    common, _ = await look.at_once()
    passed_s = (View(**common).now_ms - matches.began_ms) / 1000
    await sleep(max(0.0, patience_s - passed_s))
    return [Breach("L1", look.keys.market, *found) for found in await matches.again()]


@contextlib.asynccontextmanager
async def patient_link(url: str) -> AsyncIterator[StoreLink]:
    """Return a patient connection, to a replica as well: an audit only reads."""
    link = Store(url).link(
        name="mallard-check",
        deadline_s=_DEADLINE_S,
        silence_s=_SILENCE_S,
        master_only=False,
    )
    try:
        await link.connect()
        yield link
    finally:
        await link.close()


class _WebhookAudit:
    """The audit of the endpoints of webhooks, which are of no market."""

    def __init__(self, look: Look, limit: int | None) -> None:
        self.looked_at = 0
        self._look = look
        self._limit = limit

    async def run(self, settle: Callable[[], Awaitable[None]]) -> list[Breach]:
        """Check everything, wait, and check again what was not in order."""
        names = (await endpoints(self._look))[: self._limit]
        self.looked_at = len(names)
        if not (suspects := await self._breaches(names)):
            return []
        await settle()
        again = await self._breaches(dict.fromkeys(it.id for it in suspects if it.id))
        known = {(it.rule, it.id) for it in suspects}
        return [it for it in again if (it.rule, it.id) in known]

    async def _breaches(self, names: Iterable[str]) -> list[Breach]:
        found = [
            Breach(rule, NO_MARKET, "webhook", name, what)
            for name in names
            for rule, what in await judge_webhook(self._look, name)
        ]
        owners = await judge_owners(self._look)
        return found + [Breach(rule, NO_MARKET, "owner", "", what) for rule, what in owners]


class _MarketAudit:
    """The audit of one market."""

    def __init__(self, look: Look, limit: int | None) -> None:
        self.looked_at: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._look = look
        self.limit = _NO_LIMIT if limit is None else limit
        self._changes = Changes()
        events = self.limit * _EVENTS_A_JOB
        self._judges: dict[str, Judge] = {
            "job": self._job,
            "driver": self._driver,
            "offer": self._offer,
            "due": lambda member: judge_due(look, member),
            "wait": lambda entry: judge_wait(look, entry),
            "coming": lambda entry: judge_coming(look, entry),
            "by_shop": lambda name: judge_by_shop(look, name),
            "by_customer": lambda name: judge_by_customer(look, name),
            "returns": lambda name: judge_returns(look, name),
            "proof": lambda name: judge_proof(look, name),
            "external": lambda name: judge_external(look, name),
            "key": lambda name: judge_key(look, name),
            "unarchived": lambda job: judge_unarchived(look, job),
            "counts": lambda _: judge_counts(look),
            "events": lambda _: judge_events(look, self._changes, events),
        }

    async def run(self, settle: Callable[[], Awaitable[None]]) -> list[Breach]:
        """Check everything, wait, and check the suspect items again."""
        suspects: dict[Item, set[str]] = {}
        async for page in self._everything():
            for item, found in await self._judge_all(page):
                if item in suspects or len(suspects) < _MOST_SUSPECTS:
                    suspects[item] = {rule for rule, _ in found or ()}
                else:
                    self.left_out["suspect"] += 1
        if not suspects:
            return []
        await settle()
        breaches: list[Breach] = []
        items = list(suspects)
        for start in range(0, len(items), PAGE):
            for item, found in await self._judge_all(items[start : start + PAGE]):
                # An item that kept changing in the first pass is counted here, but has no rules to
                # report.
                if found is None:
                    self.left_out[item[0]] += 1
                    self.looked_at[item[0]] -= 1
                else:
                    breaches += (
                        Breach(rule, self._look.keys.market, *item, what)
                        for rule, what in found
                        if rule in suspects[item]
                    )
        return breaches

    # -- listing

    async def _everything(self) -> AsyncIterator[list[Item]]:
        """Yield every item as (kind, id), a page at a time."""
        keys = self._look.keys
        async for page in self._within_limit("job", pages_of_jobs(self._look)):
            yield page
        async for page in self._keys_by_name():
            yield page
        for kind, name in (
            ("offer", "offers"),
            ("external", "externals"),
            ("driver", "drivers"),
            ("driver", "registry"),
            ("proof", "proofs"),
        ):
            async for page in self._within_limit(kind, self._scan("HSCAN", keys.key(name))):
                yield page
        async for members in self._scan("ZSCAN", keys.key("idle")):
            yield await self._drivers_without_record(members)
        async for page in self._within_limit("coming", self._scan("ZSCAN", keys.key("coming"))):
            yield page
            yield await self._drivers_without_record([name.partition("/")[2] for _, name in page])
        async for page in self._within_limit("due", self._scan("ZSCAN", keys.key("due"))):
            yield page
        for name in ("by_shop", "by_customer", "returns"):
            async for page in self._within_limit(name, self._scan("ZSCAN", keys.key(name))):
                yield page
        unarchived = self._scan("ZSCAN", keys.key("unarchived"))
        async for page in self._within_limit("unarchived", unarchived):
            yield page
        waiting = self._scan("HSCAN", keys.key("waiting"))
        async for page in self._within_limit("wait", _each(waiting, "/{}")):
            yield page
        yield self._count([("counts", keys.market), ("events", keys.market)])

    async def _keys_by_name(self) -> AsyncIterator[list[Item]]:
        """Yield the keys of the market, jobs in no list, and entries of wait sets."""
        prefix = self._look.keys.key("")
        async for names in self._scan("SCAN", "", "MATCH", f"{prefix}*"):
            short = [name.removeprefix(prefix) for name in names]
            judged = (name for name in short if not is_judged_elsewhere(name))
            async for page in self._within_limit("key", _one_page(judged)):
                yield page
            jobs = [name.removeprefix("job:") for name in short if name.startswith("job:")]
            yield await self._jobs_in_no_list(jobs)
            for name in short:
                if name.startswith("queue:"):
                    members = self._scan("ZSCAN", self._look.keys.key(name))
                    entries = _each(members, name.removeprefix("queue:") + "/{}")
                    async for page in self._within_limit("wait", entries):
                        yield page

    async def _jobs_in_no_list(self, jobs: Sequence[str]) -> list[Item]:
        if not jobs:
            return []
        by_age = self._look.keys.key("by_age")
        scores = await self._look.read("ZMSCORE", by_age, *jobs)
        return self._count(
            [("job", job) for job, score in zip(jobs, scores, strict=True) if score is None]
        )

    async def _drivers_without_record(self, drivers: Sequence[str]) -> list[Item]:
        """Yield drivers of an index that have no record."""
        if not drivers:
            return []
        records = await self._look.read("HMGET", self._look.keys.key("drivers"), *drivers)
        return self._count(
            [("driver", name) for name, known in zip(drivers, records, strict=True) if not known]
        )

    async def _within_limit(
        self, kind: str, pages: AsyncIterator[list[str]]
    ) -> AsyncIterator[list[Item]]:
        """Yield the items of a kind up to the limit; count the others."""
        async for names in pages:
            left = max(0, self.limit - self.looked_at[kind])
            self.left_out[kind] += len(names[left:])
            yield self._count([(kind, name) for name in names[:left]])
        self.left_out += Counter()  # drops the kinds of which nothing was left out

    def _count(self, items: list[Item]) -> list[Item]:
        self.looked_at.update(kind for kind, _ in items)
        return items

    async def _scan(self, command: str, key: str, *more: str) -> AsyncIterator[list[str]]:
        """Yield the names of a scan, a page at a time. Some may come twice."""
        cursor: bytes = b"0"
        while True:
            where = (command, key, cursor) if key else (command, cursor)
            cursor, flat = await self._look.read(*where, *more, "COUNT", PAGE)
            names = flat if command == "SCAN" else flat[::2]
            decoded = [name.decode(errors="replace") for name in names]
            # A small collection is returned whole, regardless of COUNT.
            for start in range(0, len(decoded), PAGE):
                yield decoded[start : start + PAGE]
            if cursor == b"0":
                return

    # -- checks

    async def _judge_all(
        self, items: Sequence[Item]
    ) -> list[tuple[Item, list[tuple[str, str]] | None]]:
        """Return what is wrong with each item; None for one that keeps changing."""
        judged = await asyncio.gather(*(self._judge(kind, name) for kind, name in items))
        pairs = zip(items, judged, strict=True)
        return [(item, found) for item, found in pairs if found is None or found]

    async def _judge(self, kind: str, name: str) -> list[tuple[str, str]] | None:
        try:
            return list(await self._judges[kind](name))
        except Changing:
            return None
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            # The error text may quote stored names and addresses, so it is left out.
            return [("record", f"it cannot be read: {type(error).__name__}")]
        except LinkReplyError as error:
            if isinstance(error, StoreUnavailable):
                raise
            return [("record", f"it cannot be read: {error.code}")]

    async def _job(self, job: str) -> Judgement:
        view = await self._look.job(job)
        if view.job is not None and view.job.timeline:
            # Not `updated_ms`: a staggered round writes the job without an event.
            self._changes.note(view.job.timeline[-1].at_ms, view.now_ms)
        return judge_job(view, self._look.policy)

    async def _driver(self, driver: str) -> Judgement:
        return judge_driver(await self._look.driver(driver), self._look.policy)

    async def _offer(self, offer: str) -> Judgement:
        return judge_offer(await self._look.offer(offer))


async def _each(pages: AsyncIterator[list[str]], form: str) -> AsyncIterator[list[str]]:
    async for names in pages:
        yield [form.format(name) for name in names]


async def _one_page(names: Iterable[str]) -> AsyncIterator[list[str]]:
    yield list(names)
