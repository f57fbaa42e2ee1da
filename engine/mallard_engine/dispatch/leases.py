"""A node's leases: the markets in which it holds drivers, and the nodes that are alive or dead.

A node has a lease in each market in which it holds drivers. It takes it before the first hello
there and gives it up after the last socket has closed, so an idle market costs no heartbeat. It
also keeps an entry of its presence on each server: the nodes that are present share the maintenance
of all markets (`core/shares.py`), or leave it to one of them while no node has drivers. A node that
cannot read who is present maintains all.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Final

import structlog

from mallard_engine.core.shares import share
from mallard_engine.dispatch.confirmed import Confirmed
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.ports import Beat, Standing, StoreUnavailable

_log = structlog.get_logger(__name__)

_REAP_LIMIT: Final = 256
# Markets whose leases are renewed at once, so that a thousand do not fill the connection.
_AT_ONCE: Final = 100
# After an outage all leases have ended, and their nodes need this long to renew them. Longer than a
# lease.
_STEADY_S: Final = 1.5
# A longer gap between answers is an interruption, for example because the process was frozen.
_GAP_S: Final = 1.0
# How long after a loss of writes any node may still repeat what it has confirmed: it notices within
# a heartbeat, takes back the drivers of thousands of sockets, and then repeats the rest.
_RESTORING_MS: Final = 10_000
# By how much the storage's clock may be set without the apps learning of it: more than the error of
# a busy node's measurement, less than the lead of a fix that is refused (`FUTURE_FIX_MS`).
CLOCK_STEP_S: Final = 2.0
# A heartbeat that took longer says too little about the storage's clock.
_PRECISE_S: Final = 0.5
# After so many beats at rest one node maintains all markets, and after so many awake none does.
# Those awake take a second at least, in which nodes at rest learn of it.
_LATELY: Final = 3


class NodeLeases:
    """The leases of one node, and its share of the markets.

    Args:
        context: the storage and the policies.
        node: its name.
        is_empty: whether a market has no driver on this node.
        apply_effects: applies the effects of taking drivers out.
        recover: takes this node's drivers of a market back; see `Sweeper`.
        changed: called with a market of which operators have changed something.
        wake: called with a market in which a node that died may have woken no round.
        confirmed: what this node has confirmed lately, and must look for after lost writes.
    """

    def __init__(
        self,
        context: Context,
        node: str,
        is_empty: Callable[[str], bool],
        apply_effects: ApplyEffects,
        recover: Callable[[str, bool], Awaitable[None]],
        changed: Callable[[str], Awaitable[None]],
        wake: Callable[[str], None],
        confirmed: Confirmed,
    ) -> None:
        self._context = context
        self._leases = context.storage.leases
        self._node = node
        self._is_empty = is_empty
        self._apply_effects = apply_effects
        self._recover = recover
        self._changed = changed
        self._wake = wake
        self._confirmed = confirmed
        # By market: the last loss of writes after which this node has repeated what was lost.
        self._restored_ms: dict[str, int] = {}
        self._share: tuple[str, ...] = ()
        # Whether a node has had drivers lately, and whether the last beat was left out.
        self._is_busy = True
        self._rested = False
        # The same as of the last beats.
        self._lately: tuple[bool, ...] = (True,)
        # Whether one node maintains all markets of a server.
        self._has_one = False
        # Whether a node has had drivers since this was asked last: see `take_busy`.
        self._was_busy = True
        # Whether a node, alive or dead, has a lease in this node's share. Set by the sweeper.
        self.share_is_live = True
        # By server, which its first market names: of what this node's share follows, and the share.
        self._shares: dict[str, tuple[tuple[tuple[str, ...], bool, bool], tuple[str, ...]]] = {}
        # Markets that have changed, until they were read; and how often each has.
        self._news: set[str] = set()
        self._counts: dict[str, int] = {}
        # By market with a lease: the standing under which this node's drivers were last taken back.
        self._standings: dict[str, Standing] = {}
        # By market: nothing takes or renews a lease while another call gives it up. The reply would
        # come after the end of the lease that it reports.
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # By market: the storage's clock minus this node's.
        self._clocks: dict[str, float] = {}
        self._to_recover: set[str] = set()
        self._recovering: set[str] = set()
        # By server, which its first market names: since when it has answered without a failure or a
        # gap, when it did last, and its markets.
        self._heard: dict[str, tuple[float, float, frozenset[str]]] = {}
        self._tasks = Tasks()
        self._stopping = False

    @property
    def share(self) -> tuple[str, ...]:
        """The markets that this node sweeps, sorted."""
        return self._share

    @property
    def held(self) -> Collection[str]:
        """The markets in which this node has a lease."""
        return self._standings.keys()

    def __len__(self) -> int:
        return len(self._tasks)

    async def start(self) -> None:
        """Become present, and look for lost writes in this node's share of the markets.

        A server that cannot be reached is asked once its connection is open: see `beat_now`.

        Raises:
            StoreUnavailable: no server of the storage can be reached.
        """
        try:
            await self._meet()
        except StoreUnavailable:
            if not self._heard:
                raise
        for markets in _batches(self._share):
            held = await asyncio.gather(*map(self.hold, markets), return_exceptions=True)
            for problem in held:
                is_away = isinstance(problem, StoreUnavailable) and len(self._groups()) > 1
                if isinstance(problem, BaseException) and not is_away:
                    raise problem

    async def stop(self) -> None:
        """End all tasks."""
        self._stopping = True
        await self._tasks.stop()

    async def leave(self) -> None:
        """Give up all leases of markets without drivers, and go; the others expire."""
        try:
            for markets in _batches(sorted(self._standings)):
                await asyncio.gather(*(self._leases.leave(it, self._node) for it in markets))
            for group in self._groups():
                await self._leases.meet(group, self._node, leaves=True)
        except StoreUnavailable:
            return

    async def hold(self, market: str) -> None:
        """Take the lease of a market, unless this node has it.

        Raises:
            StoreUnavailable: it may not have been taken.
        """
        if market in self._standings:
            return
        async with self._changing[market]:
            if market not in self._standings:  # nor was it taken meanwhile
                beat = await self._leases.beat(market, self._node)
                self._standings[market] = beat.standing

    def standing(self, market: str) -> Standing | None:
        """Return the standing under which this node's drivers were last taken back."""
        return self._standings.get(market)

    async def has_kept(self, market: str, known: Standing | None) -> bool:
        """Return whether the storage has kept, since ``known``, what this node has confirmed.

        If not, what is lost is being restored.

        Raises:
            StoreUnavailable: unknown.
        """
        has_lost = await self.has_lost_lately(market)
        return not has_lost and (known is None or self._standings.get(market) == known)

    async def has_lost_lately(self, market: str) -> bool:
        """Return whether lost writes of a market may still be restored, by this node or another.

        Renews the lease, or takes it, to notice a loss that no node has noticed yet. The next
        heartbeat gives up a lease that is not needed.

        Raises:
            StoreUnavailable: unknown.
        """
        beat = await self._beat(market)
        lost_ms = beat.standing.lost_ms
        return market in self._recovering or bool(lost_ms and beat.now_ms < lost_ms + _RESTORING_MS)

    async def beat(self, *, may_rest: bool = True) -> None:
        """Renew presence and leases; give up leases that are no longer needed.

        While no node holds drivers, every other call that may rest does nothing.
        """
        is_needed = self._is_spread or self._works or self._news
        self._rested = may_rest and not (is_needed or self._rested)
        if self._rested:
            return
        await self._each("meet", [self._meet()])
        for batch in _batches(sorted(self._at_work)):
            await self._each("beat", map(self._renew, batch))

    @property
    def is_at_rest(self) -> bool:
        """Whether no node has had drivers to look after for some beats."""
        return not self._is_spread

    @property
    def _is_spread(self) -> bool:
        """Whether the nodes share the markets, which they do for one beat longer than they need."""
        return any(self._lately)

    @property
    def _works(self) -> bool:
        return bool(self.share_is_live or self._at_work)

    @property
    def _at_work(self) -> set[str]:
        return {*self._standings, *self._to_recover, *self._confirmed.markets}

    def take_busy(self) -> bool:
        """Return whether any node may have had drivers to look after since the last call."""
        was_busy, self._was_busy = self._was_busy, self._is_busy
        return was_busy or self._is_busy

    def beat_now(self) -> None:
        """Beat at once, in this node's share as well: after an outage writes may be lost."""
        if not self._stopping and self._share:
            self._to_recover.update(self._share)
            self._tasks.start(self.beat(), "beat")

    def recover_soon(self, market: str) -> None:
        """Take a market's drivers back with the next heartbeat, because a reply was lost."""
        self._to_recover.add(market)

    def is_steady(self, market: str) -> bool:
        """Whether the market's server has answered long enough to judge other nodes."""
        return any(
            market in markets and last_s - since_s >= _STEADY_S
            for since_s, last_s, markets in self._heard.values()
        )

    async def reap_dead(self, market: str) -> None:
        """Take the drivers of dead nodes out of matching; see `is_steady`."""
        for node in await self._leases.dead(market):
            if node != self._node:
                await self.reap(market, node)
            else:
                async with self._changing[market]:
                    if market not in self._standings:
                        await self._leases.leave(market, node)

    async def reap(self, market: str, node: str) -> None:
        """Take the drivers of a dead node out of matching."""
        taken = _REAP_LIMIT
        while taken == _REAP_LIMIT:
            taken, effects = await self._leases.reap(market, node, _REAP_LIMIT)
            self._apply_effects(market, effects)
            if taken:
                _log.warning("took out a dead node's drivers", dead=node, drivers=taken)
        self._wake(market)

    def _groups(self) -> list[tuple[str, ...]]:
        return list(self._leases.by_server(self._context.policies))

    async def _meet(self) -> None:
        """Renew this node's presence on each server, and apply what the reply says."""
        groups, works = self._groups(), self._works
        met = await asyncio.gather(
            *(self._leases.meet(group, self._node, works=works) for group in groups),
            return_exceptions=True,
        )
        mine: list[str] = []
        self._is_busy = any(isinstance(it, BaseException) or it.is_busy for it in met)
        self._was_busy |= self._is_busy
        self._lately = (*self._lately, self._is_busy)[-_LATELY - 1 :]
        if not any(self._lately[-_LATELY:]):
            self._has_one = True
        elif all(self._lately[-_LATELY:]):
            self._has_one = False
        for group, peers in zip(groups, met, strict=True):
            if isinstance(peers, BaseException):
                mine += group  # unknown whether another node maintains them
                continue
            self._note_answer(group)
            mine += self._share_of(group, peers.nodes)
            for market, count in peers.changed.items():
                if self._counts.get(market, 0) != count and market in self._context.policies:
                    self._counts[market] = count
                    self._news.add(market)
        if len(mine) != len(self._share) or set(mine) != set(self._share):
            self._share = tuple(sorted(mine))
        for market in tuple(self._news):
            await self._changed(market)
            self._news.discard(market)
        for problem in met:
            if isinstance(problem, BaseException):
                raise problem

    def _note_answer(self, group: tuple[str, ...]) -> None:
        now_s = asyncio.get_running_loop().time()
        since_s, last_s, _ = self._heard.get(group[0], (now_s, now_s, frozenset()))
        since_s = now_s if now_s - last_s > _GAP_S else since_s
        self._heard[group[0]] = since_s, now_s, frozenset(group)

    def _share_of(self, group: tuple[str, ...], nodes: tuple[str, ...]) -> tuple[str, ...]:
        """Return what this node maintains of a server's markets, sorted.

        While no node has drivers, one of them maintains all: for Redis ten looks at a tenth of the
        markets are dearer than one at all. A node keeps what it had for some beats longer, in which
        the others learn of the change, so that no market is left out meanwhile.
        """
        known = self._shares.get(group[0])
        about = nodes, self._is_spread, self._has_one
        if known is not None and known[0] == about:
            return known[1]
        _, is_spread, has_one = about
        mine = tuple(sorted(share(group, self._node, nodes))) if is_spread else ()
        if has_one and share(group[:1], self._node, nodes):
            mine = group
        self._shares[group[0]] = about, mine
        _log.info("markets shared out", markets=len(mine), of=len(group), nodes=len(nodes))
        if known is not None and set(known[0][0]) - set(nodes):
            # A node without a lease there may have freed a driver or queued a job as well.
            for market in mine:
                self._wake(market)
        return mine

    async def _renew(self, market: str) -> None:
        if self._is_over(market):
            await self._give_up(market)
        else:
            await self._beat(market)

    def _is_over(self, market: str) -> bool:
        """Whether this node needs no lease of the market."""
        is_wanted = market in self._to_recover or market in self._recovering
        return self._is_empty(market) and not is_wanted and market not in self._confirmed.markets

    async def _beat(self, market: str) -> Beat:
        async with self._changing[market]:
            began_s = self._confirmed.now_s
            beat = await self._leases.beat(market, self._node)
            known = self._standings.setdefault(market, beat.standing)
        self._note_clock(market, beat.now_ms / 1000, began_s)
        is_news = beat.standing != known or self._has_lost(market, beat.standing)
        if not is_news:
            self._confirmed.nothing_lost(market, began_s)
        if market in self._to_recover or is_news:
            self._start_recovery(market, beat.standing)
        for node in beat.dead:
            if node != self._node:
                await self.reap(market, node)
        return beat

    def _note_clock(self, market: str, now_s: float, began_s: float) -> None:
        """Take drivers back after a step of the storage's clock, and look at all waiting jobs.

        The apps learn the clock from a `welcome`. After a step back, what was due soon is due late.
        """
        ended_s = self._confirmed.now_s
        if ended_s - began_s > _PRECISE_S:
            return
        ahead_s = now_s - (began_s + ended_s) / 2
        step_s = ahead_s - self._clocks.setdefault(market, ahead_s)
        if abs(step_s) <= CLOCK_STEP_S:
            return
        self._clocks[market] = ahead_s
        _log.warning("the clock of Redis was set", market=market, forward_s=round(step_s, 1))
        self._to_recover.add(market)
        self._wake(market)

    async def _give_up(self, market: str) -> None:
        async with self._changing[market]:
            if not self._is_over(market):
                return  # a call that had the lock before has found a loss, or a hello has come
            # A hello from now on takes the lease again, after it was given up.
            standing = self._standings.pop(market, None)
            if standing is None:
                return
            try:
                has_left = await self._leases.leave(market, self._node)
            except StoreUnavailable:
                has_left = False
            if not has_left:
                self._standings[market] = standing
                await self._leases.beat(market, self._node)  # it still holds drivers there

    def _start_recovery(self, market: str, standing: Standing) -> None:
        if market in self._recovering or self._stopping:
            return
        self._recovering.add(market)
        self._to_recover.discard(market)
        self._tasks.start(self._take_back(market, standing), f"recover {market}")

    async def _take_back(self, market: str, standing: Standing) -> None:
        """Recover once. A failed attempt keeps the old standing: the next heartbeat retries."""
        known = self._standings.get(market, standing)
        succeeded = False
        try:
            has_lost = self._has_lost(market, standing)
            if has_lost:  # before the drivers get a welcome with their jobs
                await self._confirmed.restore(market)
            await self._recover(market, standing.lost_ms != known.lost_ms)
            if has_lost:  # of drivers whom the storage had forgotten
                await self._confirmed.restore(market)
                self._restored_ms[market] = standing.lost_ms
            self._standings[market] = standing
            succeeded = True
        except StoreUnavailable as error:
            _log.debug("drivers not taken back yet", market=market, error=str(error))
        finally:
            self._recovering.discard(market)
            if not succeeded:
                self._to_recover.add(market)

    def _has_lost(self, market: str, standing: Standing) -> bool:
        """Whether something that this node has confirmed may be gone."""
        is_looked_for = standing.lost_ms == self._restored_ms.get(market, 0)
        return not is_looked_for and market in self._confirmed.markets

    async def _each(self, what: str, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Await all. A failure is only logged, because each call is repeated soon."""
        for problem in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(problem, StoreUnavailable):
                _log.debug(f"{what} skipped: storage unavailable", error=str(problem))
            elif isinstance(problem, Exception):
                _log.error(f"{what} failed", exc_info=problem)


def _batches(markets: Sequence[str]) -> Iterable[Sequence[str]]:
    return (markets[at : at + _AT_ONCE] for at in range(0, len(markets), _AT_ONCE))
