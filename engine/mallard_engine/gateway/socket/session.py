"""One driver's session: which push goes out, which waits, which ends it. No I/O.

State is the truth and a push is only haste: what `welcome` told is not told again, what came out of
order waits for the relay, and after a gap there is a fresh `welcome`.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mallard_engine.core.model import Device, Driver, LiveOffer, Vehicle
from mallard_engine.ports import DriverSnapshot, OwnDriver, Push, PushKind
from mallard_protocol.codes import Close, JobReason, StateWhy
from mallard_protocol.lifecycle import DriverState, Wish, shown_state

_MAX_WAITING: Final = 256
_WISHES: Final = frozenset(wish.value for wish in Wish)
_STILL_HELD: Final = frozenset({JobReason.ARRIVED, JobReason.READY_CHANGED})


# Its stores, their order and its times are not as the phone knows them.
_TOLD_IN_FULL: Final = (JobReason.ASSIGNED, JobReason.READY_CHANGED)


@dataclass(frozen=True, slots=True)
class Write:
    """Send this push to the app."""

    push: Push


@dataclass(frozen=True, slots=True)
class Load:
    """Load the job of this push, then call `Session.loaded` and send it with its detail."""

    push: Push


@dataclass(frozen=True, slots=True)
class Refresh:
    """Read the driver's state and call `Session.welcomed` with it."""


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
        self.vehicle: Vehicle | None = None
        self.device: Device | None = None
        # How many times the store has told how things are: what was read before may be older.
        self.answers = 0
        self._seq = 0
        self._replaced_by = 0
        # Until `welcome` is out, and while a job is loaded, pushes wait.
        self._unwelcomed = True
        self._loading = False
        self._waiting: deque[tuple[Push, bool]] = deque()
        # What the driver wants, holds and is offered, each job with its mall: as last heard.
        self._wish = Wish.OFFLINE
        self._until_ms: int | None = None
        self._held: dict[str, str] = {}
        self._offered: dict[str, str] = {}

    def mall_of(self, job: str) -> str | None:
        """The mall of a job that this driver holds or is offered; None: ask the store."""
        return self._held.get(job) or self._offered.get(job)

    @property
    def mall(self) -> str:
        """The mall of a job in hand, "" with none: where a problem without a job is."""
        return next(iter(self._held.values()), "")

    @property
    def shown(self) -> DriverState:
        """The driver's state, as far as the session has heard."""
        return shown_state(
            wish=self._wish,
            connected=True,
            offered=bool(self._offered),
            jobs=len(self._held),
        )

    @property
    def is_busy(self) -> bool:
        """Whether the driver holds or is offered something."""
        return bool(self._held or self._offered)

    def agrees_idle(self, driver: Driver) -> bool:
        """Whether the store tells what the session knows, and both know of nothing in hand."""
        if self.is_busy or driver.jobs or driver.offer:
            return False
        known = (self._seq, self._wish, self._until_ms, self.unreachable)
        return known == (driver.seq, driver.wish, driver.until_ms, driver.unreachable)

    def greeted(self, epoch: int) -> Iterator[Action]:
        """The store has registered the socket under this epoch."""
        self.epoch = epoch
        if self._replaced_by > epoch:
            yield End(Close.REPLACED)

    def welcomed(self, snapshot: DriverSnapshot) -> Iterator[Action]:
        """`welcome` is out and told the truth of this snapshot; go on with what came since."""
        self._seq = snapshot.driver.seq
        self.unreachable = snapshot.driver.unreachable
        self.learn(snapshot.driver)
        self._offered = _malls_offered(snapshot.offer) if snapshot.offer else {}
        yield from self.release()

    def hold(self) -> None:
        """Let pushes wait until `welcomed` or `release`."""
        self._unwelcomed = True

    def release(self) -> Iterator[Action]:
        """What `welcome` told last still holds; go on with what came since."""
        self._unwelcomed = False
        yield from self._go_on()

    @property
    def own(self) -> OwnDriver:
        """What is known here of the driver."""
        return OwnDriver(
            self.driver,
            self.epoch,
            self._wish,
            self._until_ms,
            self.vehicle,
            device=self.device,
        )

    def learn(self, driver: Driver) -> None:
        """The store has just told how things are with the driver."""
        self.answers += 1
        self._wish, self._until_ms = driver.wish, driver.until_ms
        self.vehicle, self.device = driver.vehicle, driver.device
        self._held = {job.job: job.mall for job in driver.jobs}
        if driver.offer is None:
            self._offered = {}

    def push(self, push: Push, *, relayed: bool) -> Iterator[Action]:
        """A push came: from this node's own transition, or `relayed` from the market's stream."""
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
        """The job of a `Load` is out; go on with what came since."""
        self._loading = False
        yield from self._go_on()

    @property
    def _is_holding_back(self) -> bool:
        return self._unwelcomed or self._loading

    def _go_on(self) -> Iterator[Action]:
        while self._waiting and not self._is_holding_back:
            push, relayed = self._waiting.popleft()
            yield from self._deliver(push, relayed)

    def _deliver(self, push: Push, relayed: bool) -> Iterator[Action]:  # noqa: FBT001 - private
        if push.seq <= self._seq:
            return
        if push.seq > self._seq + 1:
            # Ahead of the others: the relay brings them all in order. When the relay itself has
            # left one out, it is lost.
            if relayed:
                self.hold()
                yield Refresh()
            return
        self._seq = push.seq
        self._note(push)
        if push.kind is PushKind.JOB and push.reason in _TOLD_IN_FULL:
            self._loading = True
            yield Load(push)
        else:
            yield Write(push)

    def _note(self, push: Push) -> None:
        """Learn what a push tells."""
        if push.kind is PushKind.OFFER and push.offer:
            self._offered = _malls_offered(push.offer)
        elif push.kind is PushKind.OFFER_CLOSED:
            self._offered = {}
        elif push.kind is PushKind.JOB and push.reason == JobReason.ASSIGNED:
            self._held[push.job] = push.mall
        elif push.kind is PushKind.JOB and push.reason not in _STILL_HELD:
            self._held.pop(push.job, None)
        elif push.kind is PushKind.STATE:
            self.unreachable = self.unreachable or push.why == StateWhy.UNREACHABLE
            if push.state in _WISHES:
                self._wish = Wish(push.state)
            if push.why == StateWhy.BLOCK_OVER:
                self._wish, self._until_ms = Wish.OFFLINE, None


def _malls_offered(offer: LiveOffer) -> dict[str, str]:
    return {job.job: offer.mall for job in offer.jobs}
