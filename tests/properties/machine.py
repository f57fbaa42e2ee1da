"""The base of the state machine: each call goes to Redis and the model, which are compared.

A call is made once, twice in a row, or by a node that crashes before it receives the reply, after
which the other node repeats it (S12). After every call, all invariants are checked.
"""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any, Literal, TypeVar, cast

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import (
    DriverUnavailable,
    DueEntry,
    DuplicateExternalId,
    Effects,
    IdempotencyMismatch,
    JobRef,
    NoSuchDriver,
    NoSuchLetter,
    NoSuchProblem,
    OfferLive,
    Refused,
    StoreUnavailable,
    TransferOpen,
    WrongState,
)
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.scripts import Script
from tests.properties import invariants
from tests.properties.agreement import check_agreement
from tests.properties.models.drivers import LEASE_MS
from tests.properties.models.records import REFUSAL_CODES, REFUSED
from tests.properties.models.transfers import TransferModel
from tests.properties.world import NODES, START_MS, Snapshot, World

T = TypeVar("T")
How = Literal["once", "twice", "reply lost"]
DRIVERS = ("d0", "d1", "d2", "d3")
# The capacity of each driver: two jobs by weight, two by number, many, one.
VEHICLES = {
    "d0": Vehicle(max_jobs=3, max_weight_g=250),
    "d1": Vehicle(max_jobs=2),
    "d2": Vehicle(max_jobs=8),
    "d3": Vehicle(),
}

# Strategies of the rules. An index counts back from the newest, so 0 is the latest job or offer.
some_driver = st.sampled_from(DRIVERS)
some_node = st.sampled_from(NODES)
recent = st.sampled_from((0, 0, 0, 1, 2, 3))
is_late = st.sampled_from((False, False, True))
how_often = st.sampled_from(("once", "once", "twice", "reply lost"))

_VERDICTS: Mapping[type[Exception], str] = {
    WrongState: "wrong_state",
    NoSuchDriver: "no_driver",
    DriverUnavailable: "unavailable",
    OfferLive: "offer_live",
    IdempotencyMismatch: "mismatch",
    DuplicateExternalId: "duplicate",
    TransferOpen: "open",
    NoSuchProblem: "no_problem",
    NoSuchLetter: "no_letter",
}


class StoreMachine(RuleBasedStateMachine):
    """Two nodes, four drivers and one market with runs of up to ``max_run_jobs`` jobs.

    A market without runs reassigns jobs of stuck drivers. ``scripts`` replaces the package's.
    """

    def __init__(
        self, url: str, scripts: Mapping[str, Script] | None = None, *, max_run_jobs: int = 1
    ) -> None:
        super().__init__()
        stuck_after_s = 60.0 if max_run_jobs == 1 else 0.0
        self.policy = MarketPolicy(
            max_run_jobs=max_run_jobs, stuck_after_s=stuck_after_s, pack_after_s=61.0
        )
        self.model = TransferModel(self.policy, START_MS)
        self.world = World(url, self.policy, scripts)
        self.beating = set(NODES)
        # Nodes whose lease expired and which have not registered their drivers again.
        self.lapsed: set[str] = set()
        # The open socket of each driver, as node and epoch, independent of the store.
        self.sockets: dict[str, tuple[str, int]] = {}
        self.offers: list[str] = []
        # Jobs that a slow node has read to pack them: fields, last round.
        self.reads_to_pack: list[tuple[str, dict[bytes, bytes], bytes | None]] = []
        # Due entries that a dead sweeper took and did not execute.
        self.taken: list[DueEntry] = []
        self.seen: Snapshot = self.world.read()

    def teardown(self) -> None:
        untouched = self.world.other_market_is_untouched()
        self.world.close()
        assert untouched, "S11: another market was touched"

    # -- selection

    @property
    def now(self) -> int:
        return self.world.now

    def job_at(self, back: int, states: Collection[str] = ()) -> str:
        """A job counted back from the newest; those in ``states`` come first."""
        jobs = list(reversed(self.world.known_jobs))
        jobs.sort(key=lambda name: self.model.jobs[name].state not in states)
        return jobs[back % len(jobs)]

    def offer_at(self, back: int, late: bool) -> str:
        """An offer counted back from the newest; live ones come first, or last if ``late``."""
        live = self.model.live()
        offers = list(reversed(self.offers))
        offers.sort(key=lambda name: (name in live) is late)
        return offers[back % len(offers)]

    def alive(self, driver: str) -> bool:
        """Whether the node that holds the driver's socket has a lease."""
        return self.model.alive(self.model.drivers[driver].node)

    def ref(self, job: str) -> JobRef:
        return JobRef(job, self.model.jobs[job].mall)

    # -- calls

    def call(
        self,
        what: str,
        expected: str,
        make: Callable[[RedisStorage], Awaitable[T]],
        *,
        node: str = "n1",
        how: How = "once",
        read: Callable[[T], str] = lambda _: "ok",
        again: str | None = None,
        same: Callable[[Snapshot], Mapping[str, object]] = lambda seen: seen.raw,
    ) -> T | None:
        """Make the call, compare its verdict with the model's, and check all invariants.

        `read`: returns the verdict of a result; `again`: the verdict that a repetition must get
        (None: any); `same`: what a repetition must not change.
        """
        self.log_step(f"{what} on {node}, {how} → {expected}")
        outcome: tuple[str, T | None] | None = None
        if how == "reply lost":
            self._make_and_die(make, node)
        else:
            outcome = self._make(make, node, read)
            _compare(what, outcome[0], expected)
            self._check(_effects(outcome[1]))
        if how != "once":
            before = self.seen
            other = node if how == "twice" else NODES[1 - NODES.index(node)]
            outcome = self._make(make, other, read)
            self._check(_effects(outcome[1]))
            changed = _differences(same(before), same(self.seen))
            assert not changed, f"S12: repeating {what} has another effect: {changed}"
            if again is not None:
                _compare(f"{what}, repeated", outcome[0], again)
        return outcome[1] if outcome else None

    def log_step(self, text: str) -> None:
        """Add a line to the story that a failure prints."""
        if hypothesis.currently_in_test_context():
            hypothesis.note(f"    {self.now - START_MS:>9} ms  {text}")

    def _make(
        self, make: Callable[[RedisStorage], Awaitable[T]], node: str, read: Callable[[T], str]
    ) -> tuple[str, T | None]:
        result: T
        try:
            with _no_script_fails():
                result = self.world.run(make(self.world.stores[node]))
        except Refused as refused:
            return refused.code.value, None
        except tuple(_VERDICTS) as refusal:
            return _VERDICTS[type(refusal)], None
        return read(result), result

    def _make_and_die(self, make: Callable[[RedisStorage], Awaitable[T]], node: str) -> None:
        # A call refused before its script has no reply to lose.
        lost = contextlib.suppress(StoreUnavailable, Refused)
        with self.world.reply_lost(node) as store, lost, _no_script_fails():
            self.world.run(make(store))
        self._check(None)

    def _check(self, effects: Effects | None) -> None:
        before, self.seen = self.seen, self.world.read()
        invariants.check_step(before, self.seen)
        invariants.check(self.seen, self.policy, self.lapsed)
        check_agreement(self.model, self.seen)
        invariants.check_alerts(before, self.seen, effects)
        if effects is not None:
            freed = {driver.driver for driver in effects.freed}
            invariants.check_effects(before, self.seen, effects.malls, freed)
            is_empty = not any(self.seen.queues.values())
            assert is_empty or not effects.nothing_waits, "L1: freed drivers start no round"

    def pass_time(self, ms: int) -> None:
        """Advance the time; live nodes have renewed their leases meanwhile."""
        self.world.now += ms
        self.model.now = self.world.now
        self.world.beat_until_now(sorted(self.beating))
        self.model.leases |= dict.fromkeys(self.beating, self.now + LEASE_MS)
        self._check(None)


def run_machine(
    build: Callable[[], StoreMachine], settings: hypothesis.settings, seed: int
) -> None:
    """Run rules at random.

    Raises:
        AssertionError: With the story in its notes.
    """
    factory = hypothesis.seed(seed)(build)
    # A factory works too, although the stub asks for a class.
    run_state_machine_as_test(cast("type[RuleBasedStateMachine]", factory), settings=settings)


@contextlib.contextmanager
def _no_script_fails() -> Iterator[None]:
    """Fail on a script error, as the script stops halfway and keeps its writes."""
    try:
        yield
    except LinkReplyError as error:
        raise AssertionError(f"a script fails: {error}") from error


def _effects(result: Any) -> Effects | None:
    if isinstance(result, tuple):  # (…, effects)
        result = result[-1]
    result = getattr(result, "effects", result)
    return result if isinstance(result, Effects) else None


def _compare(what: str, verdict: str, expected: str) -> None:
    fits = verdict in REFUSAL_CODES if expected == REFUSED else verdict == expected
    assert fits, f"{what}: the store says {verdict}, the model {expected}"


def _differences(before: object, after: object, path: str = "") -> list[str]:
    if before == after:
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = sorted(before.keys() | after.keys())
        return [d for n in names for d in _differences(before.get(n), after.get(n), f"{path} {n}")]
    return [f"{path}: {before} → {after}"]
