"""Submits and cancels jobs, one at a time: alone or as an item of a list."""

import asyncio
import secrets
from contextlib import closing
from typing import Any, Final

from msgspec import UNSET

from mallard_engine.contract.reading.bodies import body_as, canonical_hash, without_nulls
from mallard_engine.core.job_ids import new_job_id
from mallard_engine.core.model import Job
from mallard_engine.dispatch.rounds.speculative_offer import SpeculativeOffer
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.jobs.access import require_mall
from mallard_engine.gateway.http.keyed_semaphore import KeyedSemaphore
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.orders.intake import InvalidOrder, ValidOrder, read_order, submission_of
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.tracking import new_token
from mallard_engine.ports import JobRef, StoreUnavailable, Submitted, WrongState
from mallard_protocol.codes import CancelReason, ProblemCode
from mallard_protocol.resources import CancelRequest, JobRequest

# Orders of one mall that are checked and stored at a time, one to two milliseconds each. A higher
# limit hardly speeds up a flash sale and makes every other client of the node wait longer
# (docs/adr/0022).
_PER_MALL: Final = 4
# Two flash sales at one mall. More orders would wait for seconds, each with its body in memory.
_MAX_WAITING_PER_MALL: Final = 1_024


class Submissions:
    """The submissions of one node, which share the semaphores of the malls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._orders = services.dispatcher.orders
        self._per_mall = KeyedSemaphore(_PER_MALL, max_waiting=_MAX_WAITING_PER_MALL)

    async def submit(self, value: Any, principal: Principal, *, key: str) -> Submitted:
        """Store a job, or return the one that an earlier, equal request created.

        Args:
            value: the body as plain values.
            principal: who submits it.
            key: the idempotency key.

        Raises:
            InvalidBody, InvalidOrder: it is no valid order.
            WrongScope: the token does not reach its market.
            StoreUnavailable: Redis is away, or was before an answer came.
        """
        now_ms = self._store.now_ms()
        # A null means the same as a missing field, also for the idempotency key.
        value = without_nulls(value, JobRequest)
        asked = body_as(value, JobRequest)
        require_mall(principal, self._services.places, asked.pickup.mall)
        self._require_store(asked.pickup.mall)
        async with self._per_mall.acquire(asked.pickup.mall, principal.caller):
            mall, level = asked.pickup.mall, asked.service_level or None
            with closing(self._orders.speculate(mall, level)) as early:
                # One loop iteration sends the speculative read; Redis answers it meanwhile.
                await asyncio.sleep(0)
                return await self._submit(
                    asked,
                    early,
                    service=principal.sub,
                    key=key,
                    body_hash=canonical_hash(value),
                    now_ms=now_ms,
                )

    def _require_store(self, mall: str) -> None:
        """Refuse an order while Redis is away, before it waits for its mall's semaphore."""
        places = self._services.places
        if mall not in places.malls:  # which is an error of the order
            return
        if (outage := self._store.outage_of(places.market_of_mall(mall).id)) is not None:
            raise StoreUnavailable(outage)

    async def _submit(
        self,
        asked: JobRequest,
        early: SpeculativeOffer,
        *,
        service: str,
        key: str,
        body_hash: str,
        now_ms: int,
    ) -> Submitted:
        try:
            valid = self.read(asked, now_ms)
        except InvalidOrder as invalid:
            # A repeated request may have been valid the first time, before the mall closed.
            if invalid.market is not None:
                earlier = await self._store.jobs.submitted(invalid.market, service, key, body_hash)
                if earlier is not None:
                    return earlier
            raise
        mall = valid.mall
        return await self._orders.submit(
            submission_of(
                valid,
                job=new_job_id(mall.market, now_ms, secrets.randbits(80)),
                service=service,
                key=key,
                body_hash=body_hash,
                release_ms=self._orders.release_ms(mall.id, valid.need, now_ms),
                now_ms=now_ms,
                handover_key=secrets.token_hex(8),
                tracking=new_token(),
            ),
            early,
        )

    def read(self, asked: JobRequest, now_ms: int) -> ValidOrder:
        """Check an order. Raises `InvalidOrder`."""
        return read_order(asked, self._services.places, self._orders.preset, now_ms)

    async def cancel(self, job: Job, asked: CancelRequest, actor: str) -> Job:
        """Cancel a job; return it as it is then. One on board comes back.

        Raises:
            HttpProblem: `not_cancellable`.
        """
        code, note = _cancel_reason(asked)
        try:
            await self._orders.cancel(
                JobRef(job.id, job.mall), actor, asked.reason, code=code, note=note, job=job
            )
        except WrongState as refused:
            raise HttpProblem(
                ProblemCode.NOT_CANCELLABLE, f"the job is {refused.state}"
            ) from refused
        return await self._store.jobs.get(job.id)


def _cancel_reason(asked: CancelRequest) -> tuple[CancelReason, str]:
    """Return the reason and the note. A text that is no reason is the note of `other`."""
    note = "" if asked.note is UNSET else asked.note
    if asked.reason in set(CancelReason):
        return CancelReason(asked.reason), note
    return CancelReason.OTHER, note or asked.reason
