"""The parts of a node that driver sockets use, besides those of every request."""

from dataclasses import dataclass, field

from mallard_engine.core.model import Job
from mallard_engine.gateway.events.streams import EventStreams
from mallard_engine.gateway.http.rate_limits import RateLimiter
from mallard_engine.gateway.limits.connections import Connections
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.socket.admission import Admission
from mallard_engine.gateway.socket.connect_pace import ConnectPace
from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.payloads import full_job
from mallard_engine.gateway.socket.position_batcher import PositionBatcher
from mallard_engine.gateway.socket.push_relay import Relay
from mallard_engine.gateway.socket.timer_wheel import TimerWheel
from mallard_engine.gateway.socket.timers import SocketTimeouts
from mallard_engine.gateway.webhooks.sender import Sender
from mallard_engine.gateway.webhooks.worker import WebhookWorker
from mallard_protocol.messages import SocketJob


@dataclass(slots=True, kw_only=True)
class SocketServices(Services):
    """One instance serves all driver sockets of a node.

    `draining` means that no new socket is accepted; `leaving` alone means that the node reports
    itself as not ready and still accepts them.
    """

    admission: Admission
    limiter: RateLimiter
    hub: Hub
    relay: Relay
    positions: PositionBatcher
    streams: EventStreams
    sender: Sender
    webhooks: WebhookWorker
    connections: Connections
    timeouts: SocketTimeouts = field(default_factory=SocketTimeouts)
    wheel: TimerWheel = field(default_factory=TimerWheel)
    pace: ConnectPace = field(default_factory=ConnectPace)
    # Markets whose policy weighs earnings: `/metrics` reports how evenly they are spread.
    weigh_earnings: frozenset[str] = frozenset()
    draining: bool = False

    def full(self, job: Job, transfer: Job | None = None, alias: str | None = None) -> SocketJob:
        """Return the job with all that its holder must know.

        `transfer` may carry it; the driver who comes for that has this `alias`.
        """
        tour = self.dispatcher.orders.tour(job)
        return full_job(job, self.places.mall(job.mall), tour, transfer, alias)
