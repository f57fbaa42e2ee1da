"""What a driver app believes: its state, its live offer, the jobs that it holds.

Pure: messages in, beliefs changed. ``welcome`` is the truth; everything else follows it in the
order of ``seq``, and what ``seq`` shows to be old is left out.
"""

from dataclasses import dataclass, replace

from msgspec import UNSET

from protocol.codes import JobReason
from protocol.lifecycle import HELD, DriverState
from protocol.messages import (
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

# The job is with somebody else now, whatever state it is in there.
_TAKEN_AWAY = frozenset({JobReason.COLLECTED, JobReason.UNASSIGNED, JobReason.SILENT})
# More than any driver could still carry unreported.
_MAX_FORMER = 50


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job in the driver's hands, as the engine last told it. ``detail``: the full job."""

    job: str
    attempt: int
    state: str
    detail: SocketJob

    @classmethod
    def of(cls, detail: SocketJob) -> "HeldJob":
        """The job as the engine has just described it."""
        return cls(detail.job, detail.attempt, detail.state, detail)


class DriverView:
    """The app's beliefs. Nothing before the first ``welcome``."""

    def __init__(self) -> None:
        self.state: str = DriverState.OFFLINE
        self.offer: Offer | None = None
        self.jobs: dict[str, HeldJob] = {}
        # Jobs that were taken away: custody of one may come back with a late ``picked_up``.
        self.former: dict[str, HeldJob] = {}
        self._seq = 0

    def holds(self) -> tuple[Held, ...]:
        """What ``hello`` tells: the held jobs as the engine last acknowledged them. Reports that
        are still on the way follow by themselves, with their times."""
        return tuple(Held(job.job, job.attempt, job.state) for job in self.jobs.values())

    def apply_welcome(self, welcome: Welcome) -> None:
        """Believe the whole truth."""
        self._seq = welcome.seq
        self.state = welcome.state
        self.offer = welcome.offer
        now_held = {detail.job: HeldJob.of(detail) for detail in welcome.jobs}
        for job, held in self.jobs.items():
            if job not in now_held:
                self._taken_away(held)
        self.jobs = now_held

    def apply_push(self, push: Push) -> bool:
        """Believe a push; return whether it was news. An old one (by ``seq``) changes nothing."""
        if push.seq <= self._seq:
            return False
        self._seq = push.seq
        if isinstance(push, Offer):
            self.offer = push
            if not self.jobs:  # else it is one more job for a run, which goes on
                self.state = DriverState.OFFERED
        elif isinstance(push, OfferClosed):
            self._close_offer(push.offer)
        elif isinstance(push, JobChanged):
            self._apply_job(push)
        else:
            self.state = push.state
        return True

    def apply_accepted(self, offer: str, reply: Reply) -> tuple[HeldJob, ...]:
        """Believe the reply to ``accept``; return the jobs that it gave."""
        self._answered(offer, reply)
        details = () if reply.jobs is UNSET else reply.jobs
        given = tuple(HeldJob.of(detail) for detail in details)
        self.jobs |= {held.job: held for held in given}
        return given

    def apply_declined(self, offer: str, reply: Reply) -> None:
        """Believe the reply to ``decline``."""
        self._answered(offer, reply)

    def apply_reported(self, job: str, reply: Reply) -> None:
        """Believe the reply to ``progress``."""
        self.state = reply.state
        held = self.jobs.pop(job, None) or self.former.pop(job, None)
        if held is None or reply.job_state is UNSET or reply.job_state not in HELD:
            return
        attempt = held.attempt if reply.attempt is UNSET else reply.attempt
        self.jobs[job] = replace(held, state=reply.job_state, attempt=attempt)

    def _answered(self, offer: str, reply: Reply) -> None:
        self.state = reply.state
        if self.offer and self.offer.offer == offer:
            self.offer = None

    def _close_offer(self, offer: str) -> None:
        if self.offer and self.offer.offer == offer:
            self.offer = None
            if self.state == DriverState.OFFERED:
                # Available, unless the driver had asked for a break: then `state` follows.
                self.state = DriverState.AVAILABLE

    def _apply_job(self, push: JobChanged) -> None:
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
