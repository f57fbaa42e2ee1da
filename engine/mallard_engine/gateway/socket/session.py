"""One driver's session: decides which pushes to send, hold back or ignore. No I/O.

The stored state is authoritative, and a push only announces a change of it. A push that a `welcome`
already covers is ignored, one that arrives out of order waits for the relay, and a gap is closed by
a new `welcome`.
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
class End:
    """Close the socket."""

    code: Close


Action = Write | Load | Refresh | End


class Session:
    """The state of one (market, driver) socket, from its hello to its end."""

    __slots__ = (
        "_held",
        "_loading",
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
        # Counts the states received from the store; a snapshot read before the last is outdated.
        self.answers = 0
        self._seq = 0
        self._replaced_by = 0
        # Pushes wait until `welcome` is sent and while a job is loaded.
        self._unwelcomed = True
        self._loading = False
        self._waiting: deque[tuple[Push, bool]] = deque()
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
        """Whether the store's state equals the session's, and the driver has no job or offer."""
        if self.is_busy or driver.jobs or driver.offer:
            return False
        known = (self._seq, self._wish, self._until_ms, self.unreachable)
        return known == (driver.seq, driver.wish, driver.until_ms, driver.unreachable)

    def registered(self, epoch: int) -> Iterator[Action]:
        """Record the epoch under which the store has registered the socket."""
        self.epoch = epoch
        if self._replaced_by > epoch:
            yield End(Close.REPLACED)

    def welcomed(self, snapshot: DriverSnapshot) -> Iterator[Action]:
        """Record that `welcome` was sent with this snapshot; continue with the waiting pushes."""
        self._seq = snapshot.driver.seq
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

    def push(self, push: Push, *, relayed: bool) -> Iterator[Action]:
        """Receive a push.

        Args:
            push: the push.
            relayed: it comes from the market's stream, not from this node's own transition.
        """
        if push.kind is PushKind.REPLACED:
            self._replaced_by = max(self._replaced_by, push.epoch)
            if 0 < self.epoch < push.epoch:
                yield End(Close.REPLACED)
        elif not self._is_holding_back:
            yield from self._deliver(push, relayed)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append((push, relayed))
        else:
            yield End(Close.TOO_SLOW)

    def loaded(self) -> Iterator[Action]:
        """Record that the job of a `Load` was sent; continue with the waiting pushes."""
        self._loading = False
        yield from self._flush()

    @property
    def _is_holding_back(self) -> bool:
        return self._unwelcomed or self._loading

    def _flush(self) -> Iterator[Action]:
        while self._waiting and not self._is_holding_back:
            push, relayed = self._waiting.popleft()
            yield from self._deliver(push, relayed)

    def _deliver(self, push: Push, relayed: bool) -> Iterator[Action]:  # noqa: FBT001 - private
        if push.seq <= self._seq:
            return
        if push.seq > self._seq + 1:
            # A gap. The relay delivers the missing pushes in order, unless the relay itself has the
            # gap: then they are lost.
            if relayed:
                self.hold()
                yield Refresh()
            return
        self._seq = push.seq
        self._apply(push)
        if push.kind is PushKind.JOB and (push.reason in _WITH_DETAIL or _goes_back(push)):
            self._loading = True
            yield Load(push)
        else:
            yield Write(push)

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
