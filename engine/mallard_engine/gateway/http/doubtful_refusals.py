"""Answers 503 instead of a refusal that lost writes may explain, while they may be restored.

After a failover that forgot writes, what is stored is older than what was confirmed. Nodes
repeat what they have confirmed (`dispatch/confirmed.py`), but not at once. Until then a handover
finds no driver, a report no job that its driver holds, an operator's `close` nothing on board.
"""

from typing import Final

from starlette.requests import Request

from mallard_engine.core.job_ids import market_of_job
from mallard_engine.dispatch.transfers import NotOnBoard
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.problems import problem_of
from mallard_engine.gateway.http.routing import market_named
from mallard_engine.gateway.services import Services
from mallard_engine.ports import NoSuchDriver, StoreUnavailable
from mallard_protocol.codes import ProblemCode

# Refusals for which an older state may be the reason. What was created, or came further, meanwhile
# may be missing; no refusal because something has come too far is among them.
_DOUBTFUL: Final = frozenset(
    {
        ProblemCode.NOT_FOUND,
        ProblemCode.NOT_YOURS,
        ProblemCode.WRONG_STATE,
        ProblemCode.STALE_ATTEMPT,
        ProblemCode.WRONG_CODE,
        ProblemCode.DRIVER_UNAVAILABLE,
        ProblemCode.DUPLICATE_EXTERNAL_ID,
    }
)
# Causes for which a field is called wrong, with a status of its own.
_WRONG_FIELDS: Final = (NoSuchDriver, NotOnBoard)


class DoubtfulRefusals:
    """Looks at the refusals of requests that change something."""

    def __init__(self, services: Services) -> None:
        self._places = services.places
        self._dispatcher = services.dispatcher

    async def check(self, error: Exception, request: Request, principal: Principal) -> None:
        """Check a refusal.

        Raises:
            StoreUnavailable: the request may succeed once lost writes are restored.
        """
        problem = problem_of(error)
        if problem.code not in _DOUBTFUL and not isinstance(error.__cause__, _WRONG_FIELDS):
            return
        market = self._market_of(request, principal, problem.job)
        if market is not None and await self._dispatcher.has_lost_lately(market):
            raise StoreUnavailable("lost writes are being restored") from error

    def _market_of(self, request: Request, principal: Principal, job: str) -> str | None:
        mall = request.path_params.get("mall", "")
        if mall in self._places.malls:
            return self._places.market_of_mall(mall).id
        market = market_of_job(job) or market_named(request) or principal.market
        return market if market in self._places.markets else None
