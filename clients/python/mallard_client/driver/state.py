"""The driver's state as its app knows it: its live offer and the jobs that it holds.

Pure: messages change the state. ``welcome`` replaces all of it; later pushes apply in the order of
``seq``, and a push with an old ``seq`` is ignored.
"""

from dataclasses import dataclass, replace

from msgspec import UNSET

from mallard_protocol.codes import BarredWhy, ErrorCode, JobReason, StateWhy
from mallard_protocol.lifecycle import HELD, DriverState, JobState
from mallard_protocol.messages import (
    Barred,
    Held,
    JobChanged,
    Offer,
    OfferClosed,
    Reply,
    SocketJob,
    StateChanged,
    Welcome,
)

Push = Offer | OfferClosed | JobChanged | StateChanged

# With one of these reasons the job is no longer this driver's, whatever its state.
_TAKEN_AWAY = frozenset(
    {JobReason.COLLECTED, JobReason.UNASSIGNED, JobReason.SILENT, JobReason.TRANSFERRED}
)
# A `state` push with one of these gives the reason why the driver gets no offers.
_BARS = frozenset(BarredWhy)
# A position, or any other frame, ends these; no push announces the end.
_ENDED_BY_FIXES = frozenset({BarredWhy.STALE, BarredWhy.NO_POSITION, BarredWhy.UNREACHABLE})
_OFFER_IS_OVER = frozenset({ErrorCode.OFFER_CLOSED, ErrorCode.NOT_YOURS})
# The contract's limit for `holds` in `hello`.
_MAX_HOLDS = 50
# More jobs than a driver can have on board without having reported them.
_MAX_FORMER = 50


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that the driver holds, as in the engine's last message. ``detail``: the full job."""

    job: str
    attempt: int
    state: str
    detail: SocketJob

    @classmethod
    def of(cls, detail: SocketJob) -> "HeldJob":
        """Return the job from the engine's description."""
        return cls(detail.job, detail.attempt, detail.state, detail)


class DriverView:
    """The state known to the app; empty before the first ``welcome``."""

    def __init__(self) -> None:
        self.state: str = DriverState.OFFLINE
        self.offer: Offer | None = None
        self.jobs: dict[str, HeldJob] = {}
        # Jobs that were taken away: custody of one may come back with a late ``picked_up``.
        self.former: dict[str, HeldJob] = {}
        # What an earlier run of the app held, until the first `welcome`.
        self.recalled: dict[str, Held] = {}
        self.barred: Barred | None = None
        self._seq = 0

    def holds(self) -> tuple[Held, ...]:
        """Return the `holds` of ``hello``: the held jobs as the engine last acknowledged them.

        Reports still in flight follow separately, with their times."""
        held = {job.job: Held(job.job, job.attempt, job.state) for job in self.jobs.values()}
        return tuple({**self.recalled, **held}.values())[:_MAX_HOLDS]

    def attempt_of(self, job: str) -> int | None:
        """The attempt of a job that is or was held; None when it never was."""
        held = self.jobs.get(job) or self.recalled.get(job) or self.former.get(job)
        return None if held is None else held.attempt

    def apply_welcome(self, welcome: Welcome) -> None:
        """Replace the state by that of a ``welcome``."""
        self._seq = welcome.seq
        self.state = welcome.state
        self.offer = welcome.offer
        self.barred = welcome.barred
        self.recalled = {}
        now_held = {detail.job: HeldJob.of(detail) for detail in welcome.jobs}
        for job, held in self.jobs.items():
            if job not in now_held:
                self._taken_away(held)
        self.jobs = now_held

    def apply_push(self, push: Push) -> bool:
        """Apply a push; return whether it was new. One with an old ``seq`` changes nothing."""
        if push.seq <= self._seq:
            return False
        self._seq = push.seq
        if isinstance(push, Offer):
            self.offer = push
            self.barred = None
            if not self.jobs:  # else it is one more job for a run, which continues
                self.state = DriverState.OFFERED
        elif isinstance(push, OfferClosed):
            self._close_offer(push.offer)
        elif isinstance(push, JobChanged):
            self._apply_job(push)
        else:
            self._apply_state(push)
        return True

    def apply_accepted(self, offer: str, reply: Reply) -> tuple[HeldJob, ...]:
        """Apply the reply to ``accept``; return the accepted jobs."""
        self._answered(offer, reply)
        details = () if reply.jobs is UNSET else reply.jobs
        accepted = tuple(HeldJob.of(detail) for detail in details)
        self.jobs |= {held.job: held for held in accepted}
        return accepted

    def apply_declined(self, offer: str, reply: Reply) -> None:
        """Apply the reply to ``decline``."""
        self._answered(offer, reply)

    def apply_refused(self, offer: str, code: str) -> None:
        """Apply the refusal of an answer to an offer."""
        if code in _OFFER_IS_OVER:
            self._close_offer(offer)

    def apply_reply(self, reply: Reply) -> None:
        """Apply the driver's state in a reply."""
        self.state = reply.state
        self.barred = reply.barred

    def apply_reported(self, job: str, reply: Reply) -> None:
        """Apply the reply to ``progress``."""
        self.apply_reply(reply)
        got = () if reply.jobs is UNSET else reply.jobs  # from another driver, by a transfer
        self.jobs |= {detail.job: HeldJob.of(detail) for detail in got}
        held = self.jobs.pop(job, None) or self.former.pop(job, None)
        if reply.detail is not UNSET:
            held = HeldJob.of(reply.detail)
        if held is None or reply.job_state is UNSET:
            return
        if reply.job_state not in HELD:
            # A job that waits for a shop may still turn out to be on board.
            if reply.job_state == JobState.SCHEDULED:
                self._taken_away(held)
            return
        attempt = held.attempt if reply.attempt is UNSET else reply.attempt
        self.jobs[job] = replace(held, state=reply.job_state, attempt=attempt)

    def fixes_sent(self) -> None:
        """Note that a position was sent: conditions that a position ends are over."""
        if self.barred is not None and self.barred.why in _ENDED_BY_FIXES:
            self.barred = None

    def _answered(self, offer: str, reply: Reply) -> None:
        self.apply_reply(reply)
        if self.offer and self.offer.offer == offer:
            self.offer = None

    def _close_offer(self, offer: str) -> None:
        if self.offer and self.offer.offer == offer:
            self.offer = None
            if self.state == DriverState.OFFERED:
                # Available, unless the driver had asked for a break: then `state` follows.
                self.state = DriverState.AVAILABLE

    def _apply_state(self, push: StateChanged) -> None:
        self.state = push.state
        if push.why in _BARS:
            self.barred = Barred(push.why, None if push.until_ms is UNSET else push.until_ms)
        elif push.why == StateWhy.RESUMED:
            self.barred = None

    def _apply_job(self, push: JobChanged) -> None:
        if push.driver_state is not UNSET:
            self.state = push.driver_state
        held = self.jobs.pop(push.job, None)
        if push.state not in HELD or push.reason in _TAKEN_AWAY:
            if held:
                self._taken_away(held)
            return
        if push.detail is not UNSET:
            held = HeldJob.of(push.detail)
        if held:
            self.jobs[push.job] = replace(held, state=push.state, attempt=push.attempt)

    def _taken_away(self, held: HeldJob) -> None:
        self.former[held.job] = held
        if len(self.former) > _MAX_FORMER:
            del self.former[next(iter(self.former))]
