"""Which handler serves which operation of the contract."""

from typing import Final

from starlette.routing import Route

from mallard_engine.contract.operations.table import OPERATIONS
from mallard_engine.gateway.http.audited_calls import AuditedCalls
from mallard_engine.gateway.http.doubtful_refusals import DoubtfulRefusals
from mallard_engine.gateway.http.endpoints.control.alerts import AlertsApi
from mallard_engine.gateway.http.endpoints.control.audit import AuditApi
from mallard_engine.gateway.http.endpoints.control.nodes import NodesApi
from mallard_engine.gateway.http.endpoints.control.pauses import PausesApi
from mallard_engine.gateway.http.endpoints.control.policies import PoliciesApi
from mallard_engine.gateway.http.endpoints.control.session import SessionApi
from mallard_engine.gateway.http.endpoints.control.tokens import TokensApi
from mallard_engine.gateway.http.endpoints.counter import CounterApi
from mallard_engine.gateway.http.endpoints.documents import DOCUMENT_HANDLERS
from mallard_engine.gateway.http.endpoints.driver import DriverApi
from mallard_engine.gateway.http.endpoints.events import EventsApi
from mallard_engine.gateway.http.endpoints.health import HealthApi
from mallard_engine.gateway.http.endpoints.jobs.api import JobsApi
from mallard_engine.gateway.http.endpoints.jobs.batches import BatchesApi
from mallard_engine.gateway.http.endpoints.markets import MarketsApi
from mallard_engine.gateway.http.endpoints.operators import OperatorsApi
from mallard_engine.gateway.http.endpoints.positions import PositionsApi
from mallard_engine.gateway.http.endpoints.proofs import ProofsApi
from mallard_engine.gateway.http.endpoints.register import RegisterApi
from mallard_engine.gateway.http.endpoints.tracking import TrackingApi
from mallard_engine.gateway.http.endpoints.webhooks.api import WebhooksApi
from mallard_engine.gateway.http.routing import bind
from mallard_engine.gateway.http.submissions import Submissions
from mallard_engine.gateway.pages.routes import PageRoutes
from mallard_engine.gateway.socket.services import SocketServices

_METRICS: Final = "getMetrics"


def api_routes(services: SocketServices, *, with_metrics: bool) -> list[Route]:
    """Return every route of the HTTP API.

    Args:
        with_metrics: whether `/metrics` is served here; False if it has a port of its own.
    """
    health, submissions = HealthApi(services).handlers(), Submissions(services)
    doubtful = DoubtfulRefusals(services)
    proofs = ProofsApi(services, services.images, services.public_url)
    tracking = TrackingApi(services)
    if not with_metrics:
        del health[_METRICS]
    return bind(
        [it for it in OPERATIONS if with_metrics or it.name != _METRICS],
        services.tokens,
        JobsApi(services, submissions).handlers()
        | BatchesApi(services, submissions, doubtful.check).handlers()
        | EventsApi(services).handlers()
        | WebhooksApi(services).handlers()
        | OperatorsApi(services).handlers()
        | RegisterApi(services).handlers()
        | AlertsApi(services).handlers()
        | PausesApi(services).handlers()
        | PoliciesApi(services).handlers()
        | NodesApi(services).handlers()
        | AuditApi(services).handlers()
        | TokensApi(services).handlers()
        | MarketsApi(services).handlers()
        | PositionsApi(services).handlers()
        | DriverApi(services).handlers()
        | CounterApi(services).handlers()
        | proofs.handlers()
        | tracking.handlers(),
        health
        | DOCUMENT_HANDLERS
        | PageRoutes().handlers()
        | proofs.public_handlers()
        | tracking.public_handlers()
        | SessionApi(services).public_handlers(),
        AuditedCalls(services.store),
        doubtful.check,
    )


def ops_routes(services: SocketServices) -> list[Route]:
    """Return the routes of the port for health checks and metrics."""
    operations = [it for it in OPERATIONS if it.tag == "Health"]
    return bind(operations, services.tokens, {}, HealthApi(services).handlers())
