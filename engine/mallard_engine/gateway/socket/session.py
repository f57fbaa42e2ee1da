"""One driver's session: decides which pushes to send, hold back or ignore. No I/O.

The stored state is authoritative, and a push only announces a change of it. A push that a `welcome`
already covers is ignored. One that comes too early waits for those before it: pushes of this node
and of others come by different ways. If they are lost, a new `welcome` closes the gap.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mallard_engine.core.model import Device, Driver, LiveOffer
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_engine.ports import DriverSnapshot, OwnDriver, Push, PushKind
from mallard_protocol.codes import Close, JobReason, StateWhy
from mallard_protocol.lifecycle import DriverState, JobState, Wish, shown_state

_MAX_WAITING: Final = 256
_WISHES: Final = frozenset(wish.value for wish in Wish)
# The code of an earlier holder gives it the job again.
_NEWLY_HELD: Final = frozenset({JobReason.ASSIGNED, JobReason.HANDED_OVER})
_STILL_HELD: Final = frozenset(
    {JobReason.ARRIVED, JobReason.READY_CHANGED, JobReason.ANSWER, JobReason.UPDATED}
)
# The app does not know the job's stores, their order, its times, its transfer or its way back yet.
_WITH_DETAIL: Final = (
    JobReason.ASSIGNED,
    JobReason.HANDED_OVER,
    JobReason.READY_CHANGED,
    JobReason.ANSWER,
    JobReason.UPDATED,
)


@dataclass(frozen=True, slots=True)
class Write:
    """Send this push to the app."""

    push: Push


@dataclass(frozen=True, slots=True)
class Load:
    """Load the job of this push, send the push with it, then call `Session.loaded`."""

    push: Push


@dataclass(frozen=True, slots=True)
class Refresh:
    """Read the driver's state, send a `welcome`, then call `Session.welcomed`."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Wait until all pushes made up to now are here (`Relay.settled`); then `Session.settled`."""


@dataclass(frozen=True, slots=True)
class End:
    """Close the socket."""

    code: Close


Action = Write | Load | Refresh | Settle | End


class Session:
    """The state of one (market, driver) socket, from its hello to its end."""

    __slots__ = (
        "_early",
        "_held",
        "_loading",
        "_missing",
        "_offered",
        "_replaced_by",
        "_seq",
        "_until_ms",
        "_unwelcomed",
        "_waiting",
        "_wish",
        "answers",
        "claims",
        "device",
        "driver",
        "epoch",
        "market",
        "unreachable",
        "vehicle",
    )

    def __init__(self, market: str, driver: str) -> None:
        self.market = market
        self.driver = driver
        self.epoch = 0
        self.unreachable = False
        # What its hello and its token state.
        self.vehicle: StatedVehicle | None = None
        self.claims: DriverClaims | None = None
        self.device: Device | None = None
        # Counts the states received from Redis; a snapshot read before the last is outdated.
        self.answers = 0
        self._seq = 0
        self._replaced_by = 0
        # Pushes wait until `welcome` is sent and while a job is loaded.
        self._unwelcomed = True
        self._loading = False
        self._waiting: deque[Push] = deque()
        # Pushes that came before others, by `seq`; the `seq` for which `Settle` was asked.
        self._early: dict[int, Push] = {}
        self._missing: int | None = None
        # The last known wish of the driver, and the malls of the jobs it holds or is offered.
        self._wish = Wish.OFFLINE
        self._until_ms: int | None = None
        self._held: dict[str, str] = {}
        self._offered: dict[str, str] = {}

    def mall_of(self, job: str) -> str | None:
        """Return the mall of a job that the driver holds or is offered; None if unknown here."""
        return self._held.get(job) or self._offered.get(job)

    @property
    def mall(self) -> str:
        """The mall of a held job, "" without one. A problem without a job is located there."""
        return next(iter(self._held.values()), "")

    @property
    def shown(self) -> DriverState:
        """The driver's state as the session last received it."""
        return shown_state(
            wish=self._wish,
            connected=True,
            offered=bool(self._offered),
            jobs=len(self._held),
        )

    @property
    def is_busy(self) -> bool:
        """Whether the driver holds or is offered a job."""
        return bool(self._held or self._offered)

    def agrees_idle(self, driver: Driver) -> bool:
        """Whether Redis's state equals the session's, and the driver has no job or offer."""
        if self.is_busy or driver.jobs or driver.offer:
            return False
        known = (self._seq, self._wish, self._until_ms, self.unreachable)
        return known == (driver.seq, driver.wish, driver.until_ms, driver.unreachable)

    def registered(self, epoch: int) -> Iterator[Action]:
        """Record the epoch under which Redis has registered the socket."""
        self.epoch = epoch
        if self._replaced_by > epoch:
            yield End(Close.REPLACED)

    def welcomed(self, snapshot: DriverSnapshot) -> Iterator[Action]:
        """Record that `welcome` was sent with this snapshot; continue with the waiting pushes."""
        self._seq = snapshot.driver.seq
        self._early.clear()  # they were made before the snapshot was read
        self.unreachable = snapshot.driver.unreachable
        self.learn(snapshot.driver)
        self._offered = _malls_offered(snapshot.offer) if snapshot.offer else {}
        yield from self.release()

    def hold(self) -> None:
        """Hold pushes back until `welcomed` or `release`."""
        self._unwelcomed = True

    def release(self) -> Iterator[Action]:
        """Continue with the waiting pushes: the last `welcome` is still current."""
        self._unwelcomed = False
        yield from self._flush()

    @property
    def own(self) -> OwnDriver:
        """The driver as this session knows it."""
        return OwnDriver(
            self.driver,
            self.epoch,
            self._wish,
            self._until_ms,
            self.vehicle,
            device=self.device,
            claims=self.claims,
        )

    def learn(self, driver: Driver) -> None:
        """Take over the driver's state from the store."""
        self.answers += 1
        self._wish, self._until_ms = driver.wish, driver.until_ms
        self.device = driver.device
        self._held = {job.job: job.mall for job in driver.jobs}
        if driver.offer is None:
            self._offered = {}

    def push(self, push: Push) -> Iterator[Action]:
        """Receive a push."""
        if push.kind is PushKind.REPLACED:
            self._replaced_by = max(self._replaced_by, push.epoch)
            if 0 < self.epoch < push.epoch:
                yield End(Close.REPLACED)
        elif not self._is_holding_back:
            yield from self._deliver(push)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(push)
        else:
            yield End(Close.TOO_SLOW)

    def loaded(self) -> Iterator[Action]:
        """Record that the job of a `Load` was sent; continue with the waiting pushes."""
        self._loading = False
        yield from self._flush()

    def settled(self) -> Iterator[Action]:
        """Record that what had to arrive since a `Settle` has arrived."""
        missing, self._missing = self._missing, None
        if self._is_holding_back:
            return  # the missing push may wait here
        if self._early and missing == self._seq + 1:
            self.hold()
            yield Refresh()
        else:
            yield from self._look_for_gap()

    def has_all_until(self, seq: int) -> bool:
        """Whether no push up to this one is missing."""
        known = {push.seq for push in self._waiting} | self._early.keys()
        return all(each in known for each in range(self._seq + 1, seq + 1))

    @property
    def _is_holding_back(self) -> bool:
        return self._unwelcomed or self._loading

    def _flush(self) -> Iterator[Action]:
        while self._waiting and not self._is_holding_back:
            yield from self._deliver(self._waiting.popleft())
        if not self._is_holding_back:
            yield from self._look_for_gap()

    def _deliver(self, push: Push) -> Iterator[Action]:
        if push.seq <= self._seq:
            return
        if push.seq > self._seq + 1:
            yield from self._keep_early(push)
            return
        self._seq = push.seq
        self._early.pop(push.seq, None)
        self._apply(push)
        if push.kind is PushKind.JOB and (push.reason in _WITH_DETAIL or _goes_back(push)):
            self._loading = True
            yield Load(push)
        else:
            yield Write(push)
        following = self._early.pop(push.seq + 1, None)
        if following is not None:
            self._waiting.appendleft(following)
            yield from self._flush()

    def _keep_early(self, push: Push) -> Iterator[Action]:
        if len(self._early) >= _MAX_WAITING:
            yield End(Close.TOO_SLOW)
            return
        self._early[push.seq] = push
        yield from self._look_for_gap()

    def _look_for_gap(self) -> Iterator[Action]:
        if self._early and self._missing is None:
            self._missing = self._seq + 1
            yield Settle()

    def _apply(self, push: Push) -> None:
        """Take over the state that a push announces."""
        if push.kind is PushKind.OFFER and push.offer:
            self._offered = _malls_offered(push.offer)
        elif push.kind is PushKind.OFFER_CLOSED:
            self._offered = {}
        elif push.kind is PushKind.JOB and push.reason in _NEWLY_HELD:
            self._held[push.job] = push.mall
        elif push.kind is PushKind.JOB and push.reason not in _STILL_HELD and not _goes_back(push):
            self._held.pop(push.job, None)
        elif push.kind is PushKind.STATE:
            self.unreachable = self.unreachable or push.why == StateWhy.UNREACHABLE
            if push.state in _WISHES:
                self._wish = Wish(push.state)
            if push.why == StateWhy.TRANSFER:
                self._wish = Wish.PAUSED
            if push.why == StateWhy.BLOCK_OVER:
                self._wish, self._until_ms = Wish.OFFLINE, None


def _goes_back(push: Push) -> bool:
    """Whether the push says that a job on board was cancelled: its driver brings it back."""
    return push.reason == JobReason.CANCELLED and push.state == JobState.RETURNING


def _malls_offered(offer: LiveOffer) -> dict[str, str]:
    return {job.job: offer.mall for job in offer.jobs}
