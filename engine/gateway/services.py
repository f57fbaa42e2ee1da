"""What a driver's socket works with: one of each for all sockets of a node."""

import asyncio
from dataclasses import dataclass, field

from engine.core.model import Job
from engine.core.places import Places
from engine.dispatch.dispatcher import Dispatcher
from engine.gateway.admission import Admission
from engine.gateway.coalescer import Coalescer
from engine.gateway.connections import Connections
from engine.gateway.frames import full_job
from engine.gateway.hub import Hub
from engine.gateway.limits import Limiter
from engine.gateway.relay import Relay
from engine.gateway.vigil import Pace
from engine.metrics import Metrics
from engine.ports import Store
from protocol.messages import SocketJob


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
