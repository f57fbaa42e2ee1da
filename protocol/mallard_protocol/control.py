"""The bodies of the operations by which operators control a deployment.

Pauses, alerts, dead letters, policies, the audit log, the revocation of tokens, and the nodes.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol.codes import Role, ServiceLevel
from mallard_protocol.fields import Id, open_enum
from mallard_protocol.instants import Instant
from mallard_protocol.resources.jobs import Reason


class PauseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST …/pause`` and ``…/resume``; it may be empty."""

    reason: Reason | UnsetType = UNSET


class PauseView(Struct, frozen=True, omit_defaults=True):
    """Whether matching is paused at a place: a market, a mall of it, or a shop of a mall.

    A place may be open itself and lie in one that is paused: then nothing is offered there either.
    ``since``, ``by``, ``reason``: of the pause; they are missing if the place is not paused.
    """

    market: str
    paused: bool
    mall: str | UnsetType = UNSET
    store: str | UnsetType = UNSET
    since: Instant | UnsetType = UNSET
    by: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class RevokeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/tokens/revoke``.

    ``market``: only tokens that reach this market, also those that reach others; missing: all
    tokens of the subject and role.
    """

    sub: Id
    role: Literal["driver", "orders", "operator", "store"]
    market: Id | UnsetType = UNSET


class Revoked(Struct, frozen=True, omit_defaults=True):
    """Which tokens are refused: those with an ``iat`` up to ``revoked_before``, or without one."""

    sub: str
    role: Annotated[str, open_enum(Role)]
    revoked_before: Instant
    market: str | UnsetType = UNSET


class AlertState(StrEnum):
    """Whether an operator has seen an alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"


class AlertView(Struct, frozen=True, omit_defaults=True):
    """Something that an operator should look at. ``what``: what has happened.

    ``details``: further facts, which depend on ``what``.
    """

    id: str
    market: str
    what: str
    state: Annotated[str, open_enum(AlertState)]
    at: Instant
    job: str | UnsetType = UNSET
    driver: str | UnsetType = UNSET
    details: dict[str, Any] = {}
    acknowledged_by: str | UnsetType = UNSET
    acknowledged_at: Instant | UnsetType = UNSET


class AlertList(Struct, frozen=True):
    """A page of alerts, newest first."""

    items: tuple[AlertView, ...]
    next_cursor: str | None


class DeadLetterView(Struct, frozen=True, omit_defaults=True):
    """Work that was given up and may be retried.

    ``kind``: ``job``: its data broke ``tries`` rounds; it is ``scheduled`` until it is retried,
    and expires at its ``expires_at``. ``error``: the kind of the last error. ``webhook``: the
    engine has disabled an endpoint, for the reason ``error``; a retry enables it and replays what
    it missed, as far as events are kept.
    """

    id: str
    market: str
    kind: Annotated[str, open_enum(("job", "webhook"))]
    at: Instant
    error: str
    tries: int
    job: str | UnsetType = UNSET
    mall: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    webhook: str | UnsetType = UNSET


class DeadLetterList(Struct, frozen=True):
    """A page of dead letters, newest first."""

    items: tuple[DeadLetterView, ...]
    next_cursor: str | None


class PolicyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/markets/{m}/policy``: it replaces what operators have set.

    ``set``: values by name, as in the reference of settings (``offer_timeout_ms``; one of a group
    as ``weights_idle_s``). Both empty: the configuration counts alone again.
    """

    preset: ServiceLevel | UnsetType = UNSET
    set: dict[str, Any] = {}


class PolicyView(Struct, frozen=True):
    """What operators have set of a market's policy, and all values in force.

    ``version`` rises with each change, 0: nothing was ever set; it is the ``ETag``.
    """

    version: int
    preset: str | None
    set: dict[str, Any]
    effective: dict[str, Any]
    changed_by: str | UnsetType = UNSET
    changed_at: Instant | UnsetType = UNSET


class AuditEntry(Struct, frozen=True, omit_defaults=True):
    """One call of an operator that was to change something.

    ``status``, ``code``: of its answer; missing: the node died, or could not store them. ``body``:
    of a call that operators alone can make.
    """

    id: str
    at: Instant
    actor: str
    operation: str
    method: str
    path: str
    market: str | UnsetType = UNSET
    status: int | UnsetType = UNSET
    code: str | UnsetType = UNSET
    body: Any = UNSET


class AuditPage(Struct, frozen=True):
    """A page of the audit log, newest first."""

    items: tuple[AuditEntry, ...]
    next_cursor: str | None


class NodeState(StrEnum):
    """Whether a node serves. ``lost``: it is silent and has not announced a stop."""

    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
    LOST = "lost"


class NodeView(Struct, frozen=True, omit_defaults=True):
    """A node of the deployment, as it said itself at ``seen_at``.

    ``address``: where it listens, as far as it knows; empty before it does. ``drivers``: open
    sockets of drivers, in the markets that the token reaches. ``here``: it is the node that
    answers. ``drain_by``, ``drain_at``: which operator asked it to drain, and when.
    """

    id: str
    state: Annotated[str, open_enum(NodeState)]
    address: str
    version: str
    started_at: Instant
    seen_at: Instant
    drivers: int
    here: bool = False
    drain_by: str | UnsetType = UNSET
    drain_at: Instant | UnsetType = UNSET


class NodeList(Struct, frozen=True):
    """All nodes, oldest first. Those that have stopped are kept for ten minutes."""

    items: tuple[NodeView, ...]
