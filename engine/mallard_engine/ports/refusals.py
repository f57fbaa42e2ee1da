"""The refusals of the storage, as exceptions."""

from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState


class StoreUnavailable(Exception):
    """The storage did not answer in time. The outcome of the call is unknown."""


class StoreFull(Exception):
    """The server is out of memory. Only ``hello`` and ``submit`` are refused for this."""


class QuotaExceeded(Exception):
    """The service has used up a quota, ``open_jobs`` or ``stored_bytes``."""


class Refused(Exception):
    """The storage refused a transition. ``code`` is the reason as an error code of the contract.

    ``missing``: the kinds of proof that are missing. ``tries_left``: how many wrong codes are left.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str = "",
        *,
        missing: tuple[str, ...] = (),
        tries_left: int | None = None,
    ) -> None:
        super().__init__(message or code.value)
        self.code = code
        self.missing = missing
        self.tries_left = tries_left


class TooManyWrongCodes(Exception):
    """No code is tried for ``wait_s`` seconds: too many were wrong."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many wrong codes")
        self.wait_s = wait_s


class TooManyImages(Exception):
    """The driver has uploaded as many images as it may that no report has named."""


class NoSuchJob(Exception):
    """There is no such job."""


class NoSuchDriver(Exception):
    """There is no such driver."""


class IdempotencyMismatch(Exception):
    """The idempotency key was used with another body."""


class DuplicateExternalId(Exception):
    """The service has a job with this external id; ``job`` is its id."""

    def __init__(self, job: str) -> None:
        super().__init__(job)
        self.job = job


class WrongState(Exception):
    """The job's state does not allow this; ``state`` is the present one."""

    def __init__(self, state: JobState) -> None:
        super().__init__(state.value)
        self.state = state


class NoSuchProblem(Exception):
    """The job has no such problem."""


class OfferLive(Exception):
    """The driver has a live offer that must be answered first; ``offer`` is its id."""

    def __init__(self, offer: str) -> None:
        super().__init__(offer)
        self.offer = offer


class TransferOpen(Exception):
    """The job is part of an open transfer already; ``transfer`` is its id."""

    def __init__(self, transfer: str) -> None:
        super().__init__(transfer)
        self.transfer = transfer


class DriverUnavailable(Exception):
    """The driver whom an operator named cannot take the job now; the message says why."""
