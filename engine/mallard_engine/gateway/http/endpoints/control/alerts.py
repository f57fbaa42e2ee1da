"""Operators: alerts and dead letters."""

import asyncio
from collections import defaultdict
from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.job_ids import market_in
from mallard_engine.core.operator_records import Alert, DeadLetter
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.control.paging import market_of_id, markets_of, page
from mallard_engine.gateway.http.endpoints.webhooks.recovery import (
    is_of_webhook,
    letters_of,
    retry_letter,
)
from mallard_engine.gateway.http.parameters import bad_request
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import NoSuchAlert, NoSuchLetter
from mallard_protocol.control import (
    AlertList,
    AlertState,
    AlertView,
    DeadLetterList,
    DeadLetterView,
)

_NAMED: Final = frozenset({"job", "driver"})


class AlertsApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._controls = services.dispatcher.controls

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "listAlerts": self.alerts,
            "acknowledgeAlert": self.acknowledge,
            "listDeadLetters": self.dead_letters,
            "retryDeadLetter": self.retry,
        }

    async def alerts(self, request: Request, principal: Principal) -> Response:
        """Return a page of alerts."""
        state = request.query_params.get("state")
        if state is not None and state not in set(AlertState):
            raise bad_request(f"state is one of {', '.join(AlertState)}")
        markets = markets_of(request, principal, self._services)
        found = await asyncio.gather(*(self._store.alerts.list(it, state or "") for it in markets))
        names, cursor = page(request, [name for each in found for name in each], _place_of_alert)
        by_market: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            by_market[market_in(name) or ""].append(name)
        read = await asyncio.gather(*(self._store.alerts.read(*it) for it in by_market.items()))
        alerts = {alert.id: alert for each in read for alert in each}
        views = tuple(_alert_view(alerts[name]) for name in names if name in alerts)
        return JsonResponse(AlertList(views, cursor))

    async def acknowledge(self, request: Request, principal: Principal) -> Response:
        """Acknowledge an alert; a repeat keeps the first operator."""
        alert: str = request.path_params["id"]
        market = market_of_id(alert, self._services)
        if market is None:
            raise not_found("alert")
        try:
            done = await self._controls.acknowledge(market, alert, principal.sub)
        except NoSuchAlert:
            raise not_found("alert") from None
        return JsonResponse(_alert_view(done))

    async def dead_letters(self, request: Request, principal: Principal) -> Response:
        """Return a page of dead letters."""
        markets = markets_of(request, principal, self._services)
        found = await asyncio.gather(*map(self._store.dead_letters.list, markets))
        served = tuple(self._services.places.markets)
        endpoints = (await self._store.webhooks.all()).by_id.values()
        disabled = [it for it in letters_of(endpoints, served) if market_in(it.id) in markets]
        letters, cursor = page(
            request,
            [letter for each in (*found, disabled) for letter in each],
            lambda letter: (f"{letter.at_ms:014}", letter.id),
        )
        return JsonResponse(DeadLetterList(tuple(map(_letter_view, letters)), cursor))

    async def retry(self, request: Request, principal: Principal) -> Response:
        """Retry a dead letter, which ends it."""
        letter: str = request.path_params["id"]
        market = market_of_id(letter, self._services)
        if market is None:
            raise not_found("dead letter")
        try:
            if is_of_webhook(letter):
                served = tuple(self._services.places.markets)
                return JsonResponse(_letter_view(await retry_letter(self._store, letter, served)))
            retried = await self._controls.retry(market, letter, principal.sub)
        except NoSuchLetter:
            raise not_found("dead letter") from None
        return JsonResponse(_letter_view(retried))


def _place_of_alert(alert: str) -> tuple[str, str]:
    return alert.rpartition(".")[2], alert


def _alert_view(alert: Alert) -> AlertView:
    details = {
        name: value
        for name, value in alert.details.items()
        if name not in _NAMED and value not in {"", None}
    }
    return AlertView(
        id=alert.id,
        market=market_in(alert.id) or "",
        what=alert.what,
        state=AlertState.ACKNOWLEDGED if alert.by else AlertState.OPEN,
        at=Moment.at_ms(alert.at_ms),
        job=alert.details.get("job") or UNSET,
        driver=alert.details.get("driver") or UNSET,
        details=details,
        acknowledged_by=alert.by or UNSET,
        acknowledged_at=UNSET
        if alert.acknowledged_ms is None
        else Moment.at_ms(int(alert.acknowledged_ms)),
    )


def _letter_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        market=market_in(letter.id) or "",
        kind=letter.kind,
        at=Moment.at_ms(letter.at_ms),
        error=letter.error,
        tries=letter.tries,
        job=letter.job or UNSET,
        mall=letter.mall or UNSET,
        service=letter.service or UNSET,
        webhook=letter.webhook or UNSET,
    )
