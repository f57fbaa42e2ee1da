"""Runs the Lua scripts for all groups of calls: keys, policy, packed arguments, and the verdict."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from mallard_engine.core.job_ids import market_of_job
from mallard_engine.core.matching.search_policy import HOLD_MS, LONGEST_HOLD_MS
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import (
    MOST_COMING,
    Answered,
    Effects,
    JobRef,
    NoSuchJob,
    Push,
    Refused,
    StoreUnavailable,
    WrongState,
)
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.durability import ACKNOWLEDGED, Barriers, Demand
from mallard_engine.storage.health import StoreHealth
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.packed import run_unpacked
from mallard_engine.storage.records.drivers import read_driver, read_position
from mallard_engine.storage.records.effects import read_effects
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.scripts import Script, all_scripts, script_when_full
from mallard_protocol.codes import (
    ANSWER_KEPT_MS,
    FUTURE_FIX_MS,
    IDEMPOTENCY_KEPT_MS,
    ErrorCode,
)
from mallard_protocol.events import EVENTS_KEPT_MS
from mallard_protocol.lifecycle import JobState

# A queued job is retried after this long even if the node that should have done so has died: S14.
SAFETY_MS = 1_000
# How often the engine checks the place that a job goes back to: it may close meanwhile.
RETURN_CHECK_MS = 300_000
PUSHES_KEPT = 10_000
# Attempts at a transition of a job while the run in which it is offered keeps changing.
_MAX_TRIES = 8

# Counts a change of a market, and of any. A full server runs it as well: operators may pause it.
_COUNT_CHANGE: Final = """#!lua flags=allow-oom
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
return redis.call('HINCRBY', KEYS[1], '/', 1)"""

_log = structlog.get_logger(__name__)

_REFUSALS = {code.value: code for code in ErrorCode}


class Reply:
    """A transition's verdict, its effects, and the rest of its reply."""

    __slots__ = ("effects", "rest", "verdict")

    def __init__(self, raw: Sequence[Any]) -> None:
        self.verdict: str = raw[0].decode()
        self.effects: Effects = read_effects(raw[1], raw[2])
        self.rest: Sequence[Any] = raw[3:]

    def unless_refused(self) -> "Reply":
        """Return this reply.

        Raises:
            Refused: the verdict is an error code of the driver protocol.
        """
        if self.verdict in _REFUSALS:
            raise Refused(_REFUSALS[self.verdict])
        return self


def driver_answer(reply: Reply) -> Answered:
    """Read a reply whose rest begins with the driver's record and position.

    Raises:
        Refused: the verdict is an error code of the driver protocol, or there is no such driver.
    """
    reply.unless_refused()
    record, position = reply.rest[0]
    if record is None:
        raise Refused(ErrorCode.NOT_YOURS)
    return Answered(read_driver(record, read_position(position)), reply.effects)


def checked(reply: Reply, ref: JobRef) -> Reply:
    """Return this reply.

    Raises:
        NoSuchJob: There is no such job.
        WrongState: The job is in another state.
    """
    if reply.verdict == "gone":
        raise NoSuchJob(ref.job)
    if reply.verdict == "wrong_state":
        raise WrongState(JobState(reply.rest[0].decode()))
    return reply


class ScriptRunner:
    """The connections to Redis with the keys and policies of the markets; all groups share it.

    Args:
        link: The connections. Tests and benchmarks replace it.
        policies: The policy of every market, by its id.
        now_ms: A simulation's clock; None: the clock of the Redis server.
        observe: Called with the name and the seconds of each call.
        on_refusal: Called with the error code of each refusal that the server's condition causes.
        on_alert: Called with the kind of each alert that a transition raised.
        node: The node whose drivers get the pushes of its own transitions from it directly.
    """

    def __init__(
        self,
        link: StoreLink,
        policies: Mapping[str, MarketPolicy],
        *,
        now_ms: Callable[[], int] | None = None,
        observe: Callable[[str, float], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
        on_alert: Callable[[str], None] | None = None,
        node: str = "",
    ) -> None:
        self.link = link
        self.node = node
        # Called with the pushes of each transition as soon as its reply is there, and with the
        # market of a transition whose reply no caller awaits any longer.
        self.deliver: Callable[[str, Sequence[Push]], None] | None = None
        self.reply_lost: Callable[[str], None] | None = None
        self.scripts: Mapping[str, Script] = all_scripts()
        self.keys = {market: MarketKeys(market) for market in policies}
        self.health = StoreHealth(on_refusal)
        # By market: the last event of its stream that a reply named. See `beat.lua`.
        self.last_events: dict[str, str] = {}
        # By market: the version of its policy, which each round's record names.
        self.policy_versions: dict[str, int] = {}
        # None: a Redis whose writes are never waited for.
        self.barriers: Barriers | None = None
        self._on_alert = on_alert
        self._virtual_now_ms = now_ms
        self._observe = observe
        # The server's clock minus our monotonic clock; see `now_ms`.
        self._clock_offset_ms = time.time() * 1000 - time.monotonic() * 1000
        self.use(policies)

    def use(self, policies: Mapping[str, MarketPolicy]) -> None:
        """Apply these policies from the next call on. The set of markets never changes."""
        self._policies = {
            market: pack({**_script_policy(policy), "node": self.node})
            for market, policy in policies.items()
        }
        self._demands: dict[str, Demand] = {
            market: policy.durability
            for market, policy in policies.items()
            if policy.durability != "none"
        }
        self.ended_kept_ms = {market: it.ended_kept_ms for market, it in policies.items()}
        self.packs = {market for market, policy in policies.items() if policy.pack_after_s}
        # How many drivers on their way to a mall a script reads: none where runs are not pooled.
        self.risk_margin_ms = {
            market: math.ceil(policy.risk_margin_s * 1000) for market, policy in policies.items()
        }
        self.most_coming = {
            market: MOST_COMING if policy.max_run_jobs > 1 else 0
            for market, policy in policies.items()
        }

    @property
    def demands(self) -> frozenset[str]:
        """How durable some markets want their writes to be."""
        return frozenset(self._demands.values())

    @property
    def is_virtual(self) -> bool:
        """Whether a simulation's clock is used instead of the server's."""
        return self._virtual_now_ms is not None

    def now_ms(self) -> int:
        """The server's clock: its last known value plus the time since. Not exact."""
        if self._virtual_now_ms is not None:
            return self._virtual_now_ms()
        return int(time.monotonic() * 1000 + self._clock_offset_ms)

    def set_clock(self, now_ms: int) -> None:
        """Adjust `now_ms` to a time that the server has just reported."""
        self._clock_offset_ms = now_ms - time.monotonic() * 1000

    def opening(self, market: str) -> int:
        """Return the number of the connection that has a market; see `Link.opening`."""
        link = self.link.link_of(self.keys[market].block[0])
        return link.opening if link is not None else 0

    def by_server(self, markets: Iterable[str]) -> Sequence[tuple[str, ...]]:
        """Group markets by the server that has them; sorted, so that all nodes agree."""
        names, link = sorted(markets), self.link
        if not isinstance(link, ClusterLink):
            return [tuple(names)] if names else []
        groups: dict[object, list[str]] = {}
        for market in names:
            groups.setdefault(link.link_of(self.keys[market].block[0]), []).append(market)
        return list(map(tuple, groups.values()))

    def group_of(self, market: str) -> tuple[str, ...]:
        """Return all markets of the server that has this one."""
        return next(it for it in self.by_server(self.keys) if market in it)

    async def announce_changed(self, market: str) -> None:
        """Tell all nodes that operators have changed something of a market; see `meet.lua`."""
        key = self.keys[self.group_of(market)[0]].key("changed")
        await self.link.call("EVAL", _COUNT_CHANGE, 1, key, market)

    def keys_of(self, job: str) -> MarketKeys:
        """The keys of a job's market.

        Raises:
            NoSuchJob: the id is malformed, or names a market that is not configured.
        """
        keys = self.keys.get(market_of_job(job) or "")
        if keys is None:
            raise NoSuchJob(job)
        return keys

    async def transition(
        self,
        name: str,
        keys: MarketKeys,
        extra: Sequence[str],
        args: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
        *,
        when_full: bool = False,
    ) -> Reply:
        """Run a transition.

        Args:
            name: The script.
            keys: The market's keys; the script gets their block first.
            extra: Further keys.
            args: Packed into one argument.
            blobs: Opaque values, as arguments of their own: the scripts' MessagePack has no bytes.
            when_full: Run it on a full server too, though the script's flags forbid that.
        """
        try:
            raw = await self._run(
                name,
                [*keys.block, *extra],
                [self._now_arg(), self._policies[keys.market], pack(args), *blobs],
                when_full=when_full,
            )
        except asyncio.CancelledError:
            if self.reply_lost is not None:
                self.reply_lost(keys.market)
            raise
        reply = Reply(raw)
        if reply.effects.pushes and self.deliver is not None:
            # Delivered here, because a caller that raises would lose them.
            self.deliver(keys.market, reply.effects.pushes)
        for kind in reply.effects.alerts:
            _log.warning("alert", market=keys.market, kind=kind)
            if self._on_alert is not None:
                self._on_alert(kind)
        if reply.effects.event:
            self.last_events[keys.market] = reply.effects.event
        if self.barriers is not None and name in ACKNOWLEDGED:
            demand = self._demands.get(keys.market)
            if demand is not None:
                # Wait last: a failed wait then loses neither the pushes nor the event.
                await self.barriers.passed(keys, demand, self.link.link_of(keys.block[0]))
        return reply

    async def on_job(
        self,
        name: str,
        ref: JobRef,
        args: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
        run: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> Reply:
        """Run a transition of a job.

        A script must be given the keys of all jobs of the run in which a job is offered. Unless
        ``run`` names them, the script replies which they are, and is run once more.

        Args:
            name: The script.
            ref: The job.
            args: As in `transition`.
            blobs: As in `transition`.
            run: The jobs of the offer, in its order, if they are known.
            more: Further keys, after those of the jobs.
        """
        keys = self.keys_of(ref.job)
        jobs = run or (ref.job,)
        for _ in range(_MAX_TRIES):
            extra = [keys.wait(ref.mall), *map(keys.job, jobs), *more]
            reply = await self.transition(name, keys, extra, args, blobs)
            if reply.verdict != "run":
                return reply
            others = [job.decode() for job in reply.rest[0]]
            # An answer concerns the offer, in its order; any other transition the named job.
            jobs = others if run else [ref.job, *(job for job in others if job != ref.job)]
        raise StoreUnavailable(f"the run of {ref.job} changed each time")

    async def run(
        self,
        name: str,
        keys: Sequence[str],
        args: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
    ) -> Any:
        """Run a script that is no transition, with its own keys, the time and its arguments."""
        return await self._run(name, keys, [self._now_arg(), pack(args), *blobs])

    def _now_arg(self) -> str:
        return "" if self._virtual_now_ms is None else str(self._virtual_now_ms())

    async def _run(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[str | bytes],
        *,
        when_full: bool = False,
    ) -> Any:
        started = time.perf_counter()
        script = script_when_full(name) if when_full else self.scripts[name]
        try:
            reply = await run_unpacked(script, self.link, keys, args, self.scripts["unpack"])
        except LinkReplyError as error:
            self.health.refused(error, self.link.link_of(keys[0]))
            raise
        finally:
            if self._observe is not None:
                self._observe(name, time.perf_counter() - started)
        if self.health.problems and script.writes:
            self.health.wrote(self.link.link_of(keys[0]))
        return reply


def _script_policy(policy: MarketPolicy) -> dict[str, float]:
    """The policy fields that the scripts read."""
    # Optional rules are sent only if they are on, so that the scripts skip the others.
    own: dict[str, float] = {"keeps_work": 1} if policy.weights.earnings_s else {}
    if policy.preset == "express":
        own["express"] = 1
    if policy.break_after_s:
        own["break_ms"] = math.ceil(policy.break_after_s * 1000)
    if policy.stuck_after_s:
        own["stuck_ms"] = math.ceil(policy.stuck_after_s * 1000)
    if policy.dwell_visits:
        own["learns_dwell"] = 1
    if policy.pack_after_s:
        own["pack_after_ms"] = math.ceil(policy.pack_after_s * 1000)
    if policy.transfer_before_end_s:
        own["transfer_before_ms"] = math.ceil(policy.transfer_before_end_s * 1000)
    return own | {
        "offer_timeout_ms": policy.offer_timeout_ms,
        "ack_timeout_ms": policy.offer_ack_timeout_ms,
        "stale_ms": math.ceil(policy.stale_after_s * 1000),
        "resume_ms": math.ceil(policy.resume_ttl_s * 1000),
        "at_mall_silence_ms": math.ceil(policy.at_mall_silence_s * 1000),
        "silence_most_ms": math.ceil(policy.resume_ttl_s * policy.silence_stretch * 1000),
        "risk_margin_ms": math.ceil(policy.risk_margin_s * 1000),
        "pay_step_minor": policy.pay_step_minor,
        "door_wait_ms": math.ceil(policy.door_wait_s * 1000),
        "return_check_ms": RETURN_CHECK_MS,
        "cooldown_ms": math.ceil(policy.cooldown_s * 1000),
        "cooldown_min_ms": math.ceil(policy.cooldown_min_s * 1000),
        "slack_share": policy.slack_share,
        "declined_ms": math.ceil(policy.declined_s * 1000),
        "lapsed_ms": math.ceil(policy.lapsed_s * 1000),
        "unreachable_ms": math.ceil(policy.unreachable_s * 1000),
        "asked_again_min_ms": math.ceil(policy.asked_again_min_s * 1000),
        "max_speed_mps": policy.max_speed_mps,
        "max_run_jobs": policy.max_run_jobs,
        "future_ms": FUTURE_FIX_MS,
        "safety_ms": SAFETY_MS,
        "events_ms": EVENTS_KEPT_MS,
        "push_len": PUSHES_KEPT,
        "hold_ms": HOLD_MS,
        "longest_hold_ms": LONGEST_HOLD_MS,
        "answer_kept_ms": ANSWER_KEPT_MS,
        "idempotency_kept_ms": IDEMPOTENCY_KEPT_MS,
        "terminal_kept_ms": policy.ended_kept_ms,
    }
