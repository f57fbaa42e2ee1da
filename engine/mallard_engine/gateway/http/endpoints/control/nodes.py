"""Operators: the nodes of the deployment, and their drain."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.gateway.auth.tokens import Principal, WrongScope
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import KnownNode, NoSuchNode
from mallard_protocol.control import NodeList, NodeState, NodeView


class NodesApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._nodes = services.store.nodes
        self._here = services.node

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"listNodes": self.list, "drainNode": self.drain}

    async def list(self, _request: Request, principal: Principal) -> Response:
        """Return all nodes."""
        known = await self._nodes.all()
        return JsonResponse(NodeList(tuple(self._view(it, principal) for it in known)))

    async def drain(self, request: Request, principal: Principal) -> Response:
        """Ask a node to drain; repeatable. It finds the wish within a second."""
        if principal.markets is not None:
            raise WrongScope("a node serves every market: this token is for some")
        node: str = request.path_params["node"]
        try:
            await self._nodes.ask_drain(node, principal.sub)
        except NoSuchNode:
            raise not_found("node") from None
        known = {it.report.id: it for it in await self._nodes.all()}
        if node not in known:
            raise not_found("node")
        return JsonResponse(self._view(known[node], principal))

    def _view(self, node: KnownNode, principal: Principal) -> NodeView:
        report, request = node.report, node.drain
        return NodeView(
            id=report.id,
            state=_state(node),
            address=report.address,
            version=report.version,
            started_at=Moment.at_ms(report.started_ms),
            seen_at=Moment.at_ms(node.seen_ms),
            drivers=sum(n for market, n in report.drivers.items() if principal.reaches(market)),
            here=report.id == self._here,
            drain_by=UNSET if request is None else request.actor,
            drain_at=UNSET if request is None else Moment.at_ms(request.at_ms),
        )


def _state(node: KnownNode) -> NodeState:
    if node.has_stopped:
        return NodeState.STOPPED
    if node.is_lost:
        return NodeState.LOST
    return NodeState.DRAINING if node.report.is_leaving or node.drain else NodeState.SERVING
