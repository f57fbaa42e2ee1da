"""How a transition is called: its keys, the policy, packed arguments; a verdict comes back."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from mallard_engine.core.matching.search_policy import HOLD_MS, LONGEST_HOLD_MS
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import MOST_COMING, Effects, NoSuchJob, Refused
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.health import StoreHealth
from mallard_engine.storage.keys import MarketKeys, market_of
from mallard_engine.storage.position_cache import Tracks
from mallard_engine.storage.records import pack, read_effects
from mallard_engine.storage.scripts import all_scripts, script_when_full
from mallard_protocol.codes import (
    ANSWER_KEPT_MS,
    FUTURE_FIX_MS,
    IDEMPOTENCY_KEPT_MS,
    TERMINAL_KEPT_MS,
    ErrorCode,
)

# A job in the queue is looked at again after this long even if whoever should have died: S14.
SAFETY_MS = 1_000
EVENTS_KEPT_MS = 86_400_000
PUSHES_KEPT = 10_000

_log = structlog.get_logger(__name__)

_REFUSALS = {code.value: code for code in ErrorCode}


class Reply:
    """A transition's verdict, what to hasten, and the rest of its reply."""

    __slots__ = ("effects", "rest", "verdict")

    def __init__(self, raw: Sequence[Any]) -> None:
        self.verdict: str = raw[0].decode()
        self.effects: Effects = read_effects(raw[1], raw[2])
        self.rest: Sequence[Any] = raw[3:]

    def unless_refused(self) -> "Reply":
        """This reply. :raises Refused: if the verdict is an error code of the socket."""
        if self.verdict in _REFUSALS:
            raise Refused(_REFUSALS[self.verdict])
        return self


class Calls:
    """The typed calls' common ground: one line to Redis, the markets' keys and policies.

    ``now_ms`` is a simulation's clock; None: Redis's own. ``observe`` hears each call's name and
    seconds, ``on_refusal`` the code of each refusal that speaks of the store's condition.
    """

    def __init__(
        self,
        link: Link,
        policies: Mapping[str, MarketPolicy],
        *,
        now_ms: Callable[[], int] | None = None,
        observe: Callable[[str, float], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
        on_alert: Callable[[str], None] | None = None,
    ) -> None:
        self._link = link
        self._on_alert = on_alert
        self._health = StoreHealth(on_refusal)
        # What its keeper has found, such as a data folder that was deleted.
        self.fault: str | None = None
        self._scripts = all_scripts()
        self._keys = {market: MarketKeys(market) for market in policies}
        self.use(policies)
        # Where the last look at more queued jobs than one look reads has ended.
        self._seen_up_to: dict[str, str] = {}
        self._virtual_now_ms = now_ms
        self._observe = observe
        # By market: the last event that a reply told of, and when writes were last found lost.
        self._heard_events: dict[str, str] = {}
        self._lost_ms: dict[str, int] = {}
        # How many times the line was opened: what was under way before may have gone unheard.
        self._line = 0
        # Redis's clock less our monotonic one, as last heard; see now_ms.
        self._clock_offset_ms = time.time() * 1000 - time.monotonic() * 1000

    def use(self, policies: Mapping[str, MarketPolicy]) -> None:
        """Work with these policies from the next call on; their markets are always the same."""
        self._tracks = {market: Tracks(policy) for market, policy in policies.items()}
        self._policies = {market: pack(_figures(policy)) for market, policy in policies.items()}
        # How many drivers on their way to a mall are looked at: none where runs are not pooled.
        self._most_coming = {
            market: MOST_COMING if policy.max_run_jobs > 1 else 0
            for market, policy in policies.items()
        }

    def now_ms(self) -> int:
        """The store's clock, as last heard plus what has passed since; for display only."""
        if self._virtual_now_ms is not None:
            return self._virtual_now_ms()
        return int(time.monotonic() * 1000 + self._clock_offset_ms)

    @property
    def down_since(self) -> float | None:
        """Since when the store cannot be reached, in the loop's seconds; None while it can."""
        return self._link.down_since

    @property
    def outage(self) -> str | None:
        """See :attr:`mallard_engine.ports.Store.outage`."""
        if self._link.is_away:
            return f"the store cannot be reached: {self._link.why_down}"
        return self.fault or self._health.problem

    @property
    def warnings(self) -> Sequence[str]:
        """See :attr:`mallard_engine.ports.Store.warnings`."""
        return ()

    def _heard(self, now_ms: int) -> None:
        self._clock_offset_ms = now_ms - time.monotonic() * 1000

    def _now_arg(self) -> str:
        return "" if self._virtual_now_ms is None else str(self._virtual_now_ms())

    def _market_of(self, job: str) -> MarketKeys:
        keys = self._keys.get(market_of(job) or "")
        if keys is None:
            raise NoSuchJob(job)
        return keys

    async def _transition(
        self,
        name: str,
        keys: MarketKeys,
        extra: Sequence[str],
        args: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
        *,
        when_full: bool = False,
    ) -> Reply:
        """Run a transition: the market's block of keys, then ``extra``; what is opaque to the
        scripts goes as ``blobs``, since their MessagePack knows no bytes. ``when_full``: also one
        that a full store refuses by rule."""
        raw = await self._run(
            name,
            [*keys.block, *extra],
            [self._now_arg(), self._policies[keys.market], pack(args), *blobs],
            when_full=when_full,
        )
        reply = Reply(raw)
        for kind in reply.effects.alerts:
            _log.warning("alert", market=keys.market, kind=kind)
            if self._on_alert is not None:
                self._on_alert(kind)
        if reply.effects.event:
            self._heard_events[keys.market] = reply.effects.event
        return reply

    async def _plain(self, name: str, keys: Sequence[str], args: Mapping[str, Any]) -> Any:
        """Run a script that is no transition: its own keys, the time, its arguments."""
        return await self._run(name, keys, [self._now_arg(), pack(args)])

    async def _run(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[str | bytes],
        *,
        when_full: bool = False,
    ) -> Any:
        started = time.perf_counter()
        script = script_when_full(name) if when_full else self._scripts[name]
        try:
            reply = await script.run(self._link, keys, args)
        except LinkReplyError as error:
            self._health.refused(error)
            raise
        finally:
            if self._observe is not None:
                self._observe(name, time.perf_counter() - started)
        if self._health.problem is not None and script.writes:
            self._health.wrote()
        return reply


def _figures(policy: MarketPolicy) -> dict[str, float]:
    """What the scripts must know of a market's policy."""
    # Named only where it is so: what a market does not weigh costs it nothing.
    own: dict[str, float] = {"keeps_work": 1} if policy.weights.earnings_s else {}
    if policy.break_after_s:
        own["break_ms"] = math.ceil(policy.break_after_s * 1000)
    if policy.stuck_after_s:
        own["stuck_ms"] = math.ceil(policy.stuck_after_s * 1000)
    if policy.dwell_visits:
        own["learns_dwell"] = 1
    return own | {
        "offer_timeout_ms": policy.offer_timeout_ms,
        "ack_timeout_ms": policy.offer_ack_timeout_ms,
        "stale_ms": math.ceil(policy.stale_after_s * 1000),
        "resume_ms": math.ceil(policy.resume_ttl_s * 1000),
        "at_mall_silence_ms": math.ceil(policy.at_mall_silence_s * 1000),
        "cooldown_ms": math.ceil(policy.cooldown_s * 1000),
        "unreachable_ms": math.ceil(policy.unreachable_s * 1000),
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
        "terminal_kept_ms": TERMINAL_KEPT_MS,
    }
