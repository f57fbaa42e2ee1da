"""The shops of the sandbox: they find the parcels that a robot reported missing."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from mallard_client.errors import ClientError
from mallard_client.operator_client import OperatorClient
from mallard_client.store_client import StoreClient
from mallard_engine.logs import RateLimitedLog
from mallard_engine.sandbox.plan import shops_to_find
from mallard_protocol.codes import SANDBOX_MARKET
from mallard_protocol.lifecycle import JobState

_log = RateLimitedLog(structlog.get_logger(__name__))
_FOUND_AFTER_S: Final = 1.5

# Returns the token of a shop's counter, from its mall and id.
ShopToken = Callable[[str, str], str]


class Shops:
    """See the module. `token` returns tokens of role ``store``."""

    def __init__(self, url: str, operator: OperatorClient, token: ShopToken) -> None:
        self._url = url
        self._operator = operator
        self._token = token
        self._missing: asyncio.Queue[str] = asyncio.Queue()

    def will_find(self, job: str) -> None:
        """Note a job whose parcels are reported missing."""
        self._missing.put_nowait(job)

    async def run(self) -> None:
        """Find parcels until cancelled, beginning with the jobs that earlier robots left."""
        market, state = SANDBOX_MARKET, JobState.SCHEDULED.value
        async for job in self._operator.jobs(market=market, state=state, limit=200):
            if job.held is not None:
                self.will_find(job.id)
        async with asyncio.TaskGroup() as finds:
            while True:
                job_id = await self._missing.get()
                finds.create_task(self._find(job_id))

    async def _find(self, job_id: str) -> None:
        await asyncio.sleep(_FOUND_AFTER_S)
        try:
            job = await self._operator.get(job_id)
            for store in shops_to_find(job):
                mall = job.pickup.mall
                async with StoreClient(self._url, self._token(mall, store), mall, store) as till:
                    await till.ready(job_id)
        except ClientError as error:
            # Another client may have reported or cancelled it meanwhile.
            _log.info("a shop finds nothing", market=SANDBOX_MARKET, reason=str(error))
