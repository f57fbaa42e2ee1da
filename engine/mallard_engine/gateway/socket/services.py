"""What a driver's socket works with: one of each for all sockets of a node."""

import asyncio
from dataclasses import dataclass, field

from mallard_engine.core.model import Job
from mallard_engine.core.places.markets import Places
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway.http.rate_limits import Limiter
from mallard_engine.gateway.limits.connections import Connections
from mallard_engine.gateway.socket.admission import Admission
from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.payloads import full_job
from mallard_engine.gateway.socket.position_batcher import Coalescer
from mallard_engine.gateway.socket.push_relay import Relay
from mallard_engine.gateway.socket.timers import Pace
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Store
from mallard_protocol.messages import SocketJob


@dataclass(slots=True)
class Services:
    """The parts of a node that its driver sockets use.

    ``leaving``: not ready any more, but serving. ``draining``: no more sockets.
    """

    admission: Admission
    limiter: Limiter
    dispatcher: Dispatcher
    store: Store
    places: Places
    hub: Hub
    relay: Relay
    coalescer: Coalescer
    metrics: Metrics
    connections: Connections
    pace: Pace = field(default_factory=Pace)
    # Markets that weigh what drivers have earned: how evenly is told by `/metrics`.
    weigh_earnings: frozenset[str] = frozenset()
    draining: bool = False
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def full(self, job: Job) -> SocketJob:
        """All that the holder of a job must know."""
        return full_job(job, self.places.mall(job.mall), self.dispatcher.tour(job))
