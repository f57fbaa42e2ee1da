"""Executes the requests of a driver's app and builds the replies."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from msgspec import UNSET, UnsetType, structs

from mallard_engine.contract.advice import ERROR_ADVICE
from mallard_engine.core.matching.search_policy import held_until_ms
from mallard_engine.dispatch.step_commands import ProblemReport, StepReport
from mallard_engine.gateway.driver_reports import problem_reported, reason_given
from mallard_engine.gateway.orders.ready_time import hold_parcels
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Session
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import Answered, JobRef, NoSuchJob, Refused, StoreUnavailable
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import Step
from mallard_protocol.messages import (
    Accept,
    Decline,
    Error,
    OfferAck,
    Problem,
    Progress,
    Reply,
    SocketJob,
    Status,
)

# A driver can cause one line per frame.
_log = RateLimitedLog(structlog.get_logger(__name__))

Request = Status | OfferAck | Accept | Decline | Progress | Problem
# The steps for which a driver gives a reason.
_WITH_REASON: Final = frozenset({Step.GIVE_UP, Step.RETURNING})


def refusal(code: ErrorCode, request_id: int | None, message: str = "") -> Error:
    """Return the `error` frame of a refused request, with the advice of its code."""
    advice = ERROR_ADVICE[code]
    return Error(request_id, code.value, message or advice.meaning, advice.retry)


def _refusal_of(refused: Refused, request_id: int | None) -> Error:
    return structs.replace(
        refusal(refused.code, request_id),
        missing=refused.missing or UNSET,
        tries_left=UNSET if refused.tries_left is None else refused.tries_left,
    )


class Requests:
    """Executes the requests of one session, one at a time and in order.

    A request over HTTP has a session of its own.
    """

    __slots__ = ("_services", "_session")

    def __init__(self, services: SocketServices, session: Session) -> None:
        self._services = services
        self._session = session

    async def answer(self, request: Request) -> Reply | Error | None:
        """Execute a request and return its reply or error; None if it gets none.

        Raises:
            NoSuchDriver: Redis has lost the driver.
        """
        request_id = getattr(request, "id", None)
        try:
            return await self.execute(request)
        except Refused as refused:
            if refused.code is ErrorCode.OFFER_CLOSED and request_id is None:
                return None  # a late acknowledgement; the app receives `offer_closed`
            return _refusal_of(refused, request_id)
        except StoreUnavailable:
            return refusal(ErrorCode.STORE_UNAVAILABLE, request_id)

    async def execute(self, request: Request) -> Reply | None:
        """Execute a request. Raises `Refused`, `NoSuchDriver`, `StoreUnavailable`."""
        try:
            return await _HANDLERS[type(request)](self, request)
        except NoSuchJob:
            self._audit(request)
            raise Refused(ErrorCode.NOT_YOURS) from None
        except Refused as refused:
            if refused.code is ErrorCode.NOT_YOURS:
                self._audit(request)
            raise

    async def _status(self, request: Status) -> Reply:
        session = self._session
        await self._services.positions.flush(session.market, session.driver)
        until_ms = None if request.until_ms is UNSET else request.until_ms
        answered = await self._services.dispatcher.drivers.status(
            session.market, session.driver, request.state, until_ms
        )
        return self._reply(request.id, answered)

    async def _offer_ack(self, request: OfferAck) -> None:
        session = self._session
        await self._services.dispatcher.offers.ack(session.market, session.driver, request.offer)

    async def _accept(self, request: Accept) -> Reply:
        session, services = self._session, self._services
        answered = await services.dispatcher.offers.accept(
            session.market, session.driver, request.offer
        )
        return self._reply(request.id, answered, jobs=tuple(map(services.full, answered.jobs)))

    async def _decline(self, request: Decline) -> Reply:
        session = self._session
        reason = "" if request.reason is UNSET else request.reason
        answered = await self._services.dispatcher.offers.decline(
            session.market, session.driver, request.offer, reason
        )
        if answered.effects.changed_jobs:
            reason_given(
                self._services.metrics, session, step="decline", text=reason, offer=request.offer
            )
        return self._reply(request.id, answered)

    async def _progress(self, request: Progress) -> Reply:
        reason = "" if request.reason is UNSET else request.reason
        if request.step is Step.COLLECTED and request.store is UNSET:
            raise Refused(ErrorCode.BAD_FIELD)
        if request.step is Step.RETURNED:
            # Its fixes say whether it has been at the place.
            await self._services.positions.flush(self._session.market, self._session.driver)
        report = StepReport(
            await self._ref(request.job),
            self._session.driver,
            request.attempt,
            request.step,
            at_ms=None if request.at_ms is UNSET else request.at_ms,
            proof=None if request.proof is UNSET else request.proof,
            reason=reason,
            store=None if request.store is UNSET else request.store,
            parcels=None if request.parcels is UNSET else request.parcels,
            jobs=None if request.jobs is UNSET else request.jobs,
        )
        answered = await self._services.dispatcher.steps.progress(report)
        if request.step in _WITH_REASON and answered.effects.changed_jobs:
            reason_given(
                self._services.metrics,
                self._session,
                step=request.step,
                text=reason,
                job=request.job,
            )
        detail: SocketJob | UnsetType = UNSET
        if request.step is Step.RETURNING or answered.took_custody(request.job, request.attempt):
            # The custody claim has assigned the job to this driver under a new attempt; or the app
            # does not know yet where the parcels go back to.
            detail = self._services.full(await self._services.store.jobs.get(request.job))
        return self._reply(
            request.id,
            answered,
            job=request.job,
            job_state=answered.job_state,
            attempt=answered.attempt,
            detail=detail,
            # What a transfer has given to the driver.
            jobs=tuple(map(self._services.full, answered.jobs)) or UNSET,
        )

    async def _problem(self, request: Problem) -> Reply:
        session = self._session
        job = "" if request.job is UNSET else request.job
        store = "" if request.store is UNSET else request.store
        text = "" if request.text is UNSET else request.text
        mall = (await self._ref(job)).mall if job else session.mall
        if store and mall and store not in self._services.places.mall(mall).stores:
            raise Refused(ErrorCode.BAD_FIELD)
        reported_ms = None if request.until_ms is UNSET else request.until_ms
        until_ms = held_until_ms(request.kind, reported_ms, self._services.store.now_ms())
        report = ProblemReport(
            driver=session.driver,
            kind=request.kind,
            mall=mall,
            job=job,
            store=store,
            until_ms=reported_ms if until_ms is None else until_ms,
            text=text,
            attempt=None if request.attempt is UNSET else request.attempt,
            at_ms=None if request.at_ms is UNSET else request.at_ms,
        )
        answered = await self._services.dispatcher.steps.problem(session.market, report)
        if answered.is_new:
            problem_reported(
                self._services.metrics, session, kind=request.kind, job=job, store=store
            )
        if job and store and until_ms is not None:
            await hold_parcels(self._services, job, session.driver, store, until_ms)
        return self._reply(request.id, answered)

    def _reply(self, request_id: int, answered: Answered, **fields: Any) -> Reply:
        session, driver = self._session, answered.driver
        session.learn(driver)
        barred = self._services.dispatcher.drivers.barred(
            session.market, driver, answered.effects.now_ms
        )
        return Reply(request_id, driver.shown.value, barred=barred, **fields)

    async def _ref(self, job_id: str) -> JobRef:
        """Return the reference of a job. A job of another market is reported as missing."""
        mall = self._session.mall_of(job_id)
        if mall is None:
            job = await self._services.store.jobs.get(job_id)
            if job.market != self._session.market:
                raise NoSuchJob(job_id)
            mall = job.mall
        return JobRef(job_id, mall)

    def _audit(self, request: Request) -> None:
        """Log a request for a job or offer that is not the driver's; most are late, some probe."""
        _log.warning(
            "refused: job or offer of another driver",
            request=type(request).__struct_config__.tag,
            example={
                "market": self._session.market,
                "driver": self._session.driver,
                "job": getattr(request, "job", None) or None,
                "offer": getattr(request, "offer", None),
            },
        )


_Handler = Callable[[Requests, Any], Awaitable[Reply | None]]
_HANDLERS: Final[dict[type, _Handler]] = {
    Status: Requests._status,  # noqa: SLF001 - the table belongs to the class
    OfferAck: Requests._offer_ack,  # noqa: SLF001
    Accept: Requests._accept,  # noqa: SLF001
    Decline: Requests._decline,  # noqa: SLF001
    Progress: Requests._progress,  # noqa: SLF001
    Problem: Requests._problem,  # noqa: SLF001
}
