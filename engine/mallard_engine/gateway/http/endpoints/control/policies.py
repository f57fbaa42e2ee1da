"""Operators: the policy of a market, changed while it runs."""

import re
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.config.policy_overrides import applied, violations
from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.core.policy.override import PolicyOverride, flat_values
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.driver_path import market_of
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import StaleVersion
from mallard_protocol.codes import ProblemCode
from mallard_protocol.control import PolicyRequest, PolicyView
from mallard_protocol.resources.problems import FieldError

_TAG: Final = re.compile(r'"([0-9]{1,9})"')


class PoliciesApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._controls = services.dispatcher.controls

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"getPolicy": self.read, "setPolicy": self.put}

    async def read(self, request: Request, _principal: Principal) -> Response:
        """Return what is set and all values in force."""
        market = market_of(request, self._services).id
        current = await self._services.store.policies.current(market)
        return self._answer(market, current or PolicyOverride())

    async def put(self, request: Request, principal: Principal) -> Response:
        """Replace what is set; a bad value refuses all of it."""
        market = market_of(request, self._services).id
        expected = _expected(request)
        body = decode_json_body(await read_body(request), PolicyRequest)
        override = PolicyOverride(
            preset="" if body.preset is UNSET else body.preset.value,
            set=_flat(body.set),
            actor=principal.sub,
        )
        if wrong := violations(self._services.base_policy(market), override):
            raise invalid_fields(
                *(FieldError(f"/set/{it.name}" if it.name else "", it.detail) for it in wrong)
            )
        try:
            stored = await self._controls.put_policy(market, override, expected)
        except StaleVersion as stale:
            raise HttpProblem(ProblemCode.PRECONDITION_FAILED, str(stale)) from None
        return self._answer(market, stored)

    def _answer(self, market: str, override: PolicyOverride) -> Response:
        policy = applied(self._services.base_policy(market), override)
        view = PolicyView(
            version=override.version,
            preset=override.preset or None,
            set=dict(override.set),
            effective={name: _plain(value) for name, value in flat_values(policy).items()},
            changed_by=override.actor or UNSET,
            changed_at=Moment.at_ms(override.at_ms) if override.at_ms else UNSET,
        )
        return JsonResponse(view, {"ETag": f'"{override.version}"'})


def _expected(request: Request) -> int | None:
    """Return the version of `If-Match`; None for any."""
    tags = request.headers.getlist("if-match")
    if not tags:
        raise HttpProblem(ProblemCode.PRECONDITION_REQUIRED, "read the policy and send its ETag")
    if tags == ["*"]:
        return None
    match = _TAG.fullmatch(tags[0].strip()) if len(tags) == 1 else None
    if match is None:
        raise HttpProblem(ProblemCode.PRECONDITION_FAILED, "If-Match is not an ETag of this policy")
    return int(match[1])


def _flat(values: dict[str, Any], start: str = "") -> dict[str, Any]:
    """Flatten groups, as the configuration does: `weights.idle_s` is `weights_idle_s`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and not start:
            flat |= _flat(value, f"{name}_")
        elif value is not None:
            flat[start + name] = value
    return flat


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value
