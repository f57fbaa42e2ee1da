"""The storage: its ports together, and its health."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.ports.control.alerts import Alerts, DeadLetters
from mallard_engine.ports.control.audit_log import AuditLog
from mallard_engine.ports.control.nodes import Nodes
from mallard_engine.ports.control.pauses import Controls
from mallard_engine.ports.control.policies import Policies
from mallard_engine.ports.control.revocations import Revocations
from mallard_engine.ports.control.sign_in_codes import SignInCodes
from mallard_engine.ports.deadlines import Deadlines
from mallard_engine.ports.drivers import Drivers
from mallard_engine.ports.events.log import EventLog
from mallard_engine.ports.events.webhooks import Webhooks
from mallard_engine.ports.jobs import Changes, Jobs
from mallard_engine.ports.leases import Leases
from mallard_engine.ports.offers import Offers
from mallard_engine.ports.proofs import Proofs
from mallard_engine.ports.pushes import PushStream
from mallard_engine.ports.register import Register
from mallard_engine.ports.returns import Returns
from mallard_engine.ports.shops import Shops
from mallard_engine.ports.transfers import Transfers


class Storage(Protocol):
    """The ports of one storage. Every coroutine of theirs may raise :class:`StoreUnavailable`."""

    @property
    def drivers(self) -> Drivers:
        """The drivers."""
        ...

    @property
    def register(self) -> Register:
        """The register of drivers."""
        ...

    @property
    def jobs(self) -> Jobs:
        """The jobs."""
        ...

    @property
    def changes(self) -> Changes:
        """Changes of orders."""
        ...

    @property
    def shops(self) -> Shops:
        """The counters of the shops."""
        ...

    @property
    def proofs(self) -> Proofs:
        """The images that drivers upload."""
        ...

    @property
    def returns(self) -> Returns:
        """The door and the way back."""
        ...

    @property
    def offers(self) -> Offers:
        """The offers."""
        ...

    @property
    def deadlines(self) -> Deadlines:
        """The due entries."""
        ...

    @property
    def transfers(self) -> Transfers:
        """The transfers."""
        ...

    @property
    def leases(self) -> Leases:
        """The leases of nodes."""
        ...

    @property
    def pushes(self) -> PushStream:
        """The pushes of all nodes."""
        ...

    @property
    def event_log(self) -> EventLog:
        """The events of the markets."""
        ...

    @property
    def controls(self) -> Controls:
        """What operators have set."""
        ...

    @property
    def alerts(self) -> Alerts:
        """The alerts."""
        ...

    @property
    def dead_letters(self) -> DeadLetters:
        """The dead letters."""
        ...

    @property
    def policies(self) -> Policies:
        """What operators have set of the markets' policies."""
        ...

    @property
    def audit_log(self) -> AuditLog:
        """The calls of operators."""
        ...

    @property
    def revocations(self) -> Revocations:
        """The revoked tokens."""
        ...

    @property
    def sign_in_codes(self) -> SignInCodes:
        """The one-time codes of pages."""
        ...

    @property
    def nodes(self) -> Nodes:
        """The nodes of the deployment."""
        ...

    @property
    def webhooks(self) -> Webhooks:
        """The endpoints of webhooks."""
        ...

    def down_since(self, market: str) -> float | None:
        """Since when a market's server cannot be reached (seconds of the event loop), or None."""

    def outage_of(self, market: str) -> str | None:
        """Why a market cannot be used now: its server is away, or refuses all writes; or None."""

    @property
    def outage(self) -> str | None:
        """Why no market can be used now; None while one can."""

    @property
    def warnings(self) -> Sequence[str]:
        """What is wrong with the servers, though some market can be used."""

    def now_ms(self) -> int:
        """The storage's clock: its last known value plus the time since. For display only."""
