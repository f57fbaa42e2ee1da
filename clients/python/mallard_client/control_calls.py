"""The calls by which an operator controls a deployment, as steps without I/O."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import UNSET

from mallard_client.http.request import Caller, Steps, path_of
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.control import (
    AlertList,
    AlertView,
    AuditPage,
    DeadLetterList,
    DeadLetterView,
    NodeList,
    NodeView,
    PauseRequest,
    PauseView,
    PolicyRequest,
    PolicyView,
    Revoked,
    RevokeRequest,
)

RoleName = Literal["driver", "orders", "operator", "store"]
AlertStateName = Literal["open", "acknowledged"]
_ANY: Final = "*"


class ControlCalls:
    """Pauses, alerts, dead letters, policies, the audit log and revoked tokens."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def pause(
        self, verb: str, market: str, mall: str | None, store: str | None, reason: str | None
    ) -> Steps[PauseView]:
        """``POST /v1/markets/{m}[/malls/{mall}[/stores/{store}]]/pause`` or ``resume``."""
        parts = ["markets", market]
        parts += [] if mall is None else ["malls", mall]
        parts += [] if mall is None or store is None else ["stores", store]
        body = PauseRequest(reason or UNSET)
        return self._caller.call("POST", path_of(*parts, verb), PauseView, body=body)

    def revoke(self, sub: str, role: RoleName, market: str | None) -> Steps[Revoked]:
        """``POST /v1/tokens/revoke``."""
        body = RevokeRequest(sub, role, market or UNSET)
        return self._caller.call("POST", "/v1/tokens/revoke", Revoked, body=body)

    def alerts(
        self, state: AlertStateName | None, market: str | None, cursor: str | None
    ) -> Steps[AlertList]:
        """``GET /v1/alerts``: one page."""
        params = {"state": state, "market": market, "cursor": cursor}
        return self._caller.call("GET", "/v1/alerts", AlertList, params=params)

    def acknowledge(self, alert: str) -> Steps[AlertView]:
        """``POST /v1/alerts/{id}/acknowledge``."""
        return self._caller.call("POST", path_of("alerts", alert, "acknowledge"), AlertView)

    def dead_letters(self, market: str | None, cursor: str | None) -> Steps[DeadLetterList]:
        """``GET /v1/dead-letters``: one page."""
        params = {"market": market, "cursor": cursor}
        return self._caller.call("GET", "/v1/dead-letters", DeadLetterList, params=params)

    def retry(self, letter: str) -> Steps[DeadLetterView]:
        """``POST /v1/dead-letters/{id}/retry``. A second one would be 404: it is not repeated."""
        path = path_of("dead-letters", letter, "retry")
        return self._caller.call("POST", path, DeadLetterView, repeatable=False)

    def policy(self, market: str) -> Steps[PolicyView]:
        """``GET /v1/markets/{m}/policy``."""
        return self._caller.call("GET", path_of("markets", market, "policy"), PolicyView)

    def put_policy(
        self, market: str, preset: str | None, values: Mapping[str, Any], version: int | None
    ) -> Steps[PolicyView]:
        """``PUT /v1/markets/{m}/policy``."""
        level = UNSET if preset is None else ServiceLevel(preset)
        return self._caller.call(
            "PUT",
            path_of("markets", market, "policy"),
            PolicyView,
            headers={"If-Match": _ANY if version is None else f'"{version}"'},
            body=PolicyRequest(level, dict(values)),
        )

    def nodes(self) -> Steps[NodeList]:
        """``GET /v1/nodes``."""
        return self._caller.call("GET", "/v1/nodes", NodeList)

    def drain(self, node: str) -> Steps[NodeView]:
        """``POST /v1/nodes/{node}/drain``."""
        return self._caller.call("POST", path_of("nodes", node, "drain"), NodeView)

    def audit(
        self, actor: str | None, since: datetime | None, market: str | None, cursor: str | None
    ) -> Steps[AuditPage]:
        """``GET /v1/audit``: one page."""
        params = {
            "actor": actor,
            "since": None if since is None else since.isoformat(),
            "market": market,
            "cursor": cursor,
        }
        return self._caller.call("GET", "/v1/audit", AuditPage, params=params)
