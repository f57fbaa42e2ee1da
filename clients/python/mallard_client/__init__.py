"""Clients of Mallard for other people's programs: driver apps, order services, operators.

Everything that such a program needs is here. The clients speak the public contract only; nothing
of the engine is imported. What goes over the wire are the structs of `mallard_protocol.messages` and
`mallard_protocol.resources`; every failure is a `ClientError`.
"""

from mallard_client.backoff import Backoff
from mallard_client.driver.client import DriverClient, StepName, WishName
from mallard_client.errors import (ApiProblem, BadAnswer, CallFailed, ClientError, LinkLost, NoAnswer, NoToken, QueueFull, RequestRefused, Stopped, Unreachable)
from mallard_client.driver.events import (Connected, Connecting, Disconnected, DriverChanged, Ended, Event, EventStream, JobsChanged, Listener, ReportSettled, TokenTrouble, WishRefused)
from mallard_client.driver.socket import Liveness
from mallard_client.operator_client import OperatorClient
from mallard_client.orders.client import JobFilter, OrderClient, OrderClientSync
from mallard_client.driver.storage import FileStorage, MemoryStorage, Storage
from mallard_client.tokens import TokenProvider
from mallard_client.driver.state import HeldJob
from mallard_protocol.codes import (SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, Close, ErrorCode, ProblemCode)
from mallard_protocol.lifecycle import (DriverState, JobState, Step, Wish)
from mallard_protocol.messages import (App, Barred, Device, Drain, Error, JobChanged, Offer, OfferClosed, Pace, ProblemKind, Proof, ProofKind, Reply, SocketJob, StateChanged, Vehicle, Welcome)
from mallard_protocol.resources import (DropoffRequest, Explanation, Job, JobList, JobRequest, Market, Pickup, PickupStore, Quote)

__all__ = [
    "SUBPROTOCOL_JSON",
    "SUBPROTOCOL_MSGPACK",
    "ApiProblem",
    "App",
    "Backoff",
    "BadAnswer",
    "Barred",
    "CallFailed",
    "ClientError",
    "Close",
    "Connected",
    "Connecting",
    "Device",
    "Disconnected",
    "Drain",
    "DriverChanged",
    "DriverClient",
    "DriverState",
    "DropoffRequest",
    "Ended",
    "Error",
    "ErrorCode",
    "Event",
    "EventStream",
    "Explanation",
    "FileStorage",
    "HeldJob",
    "Job",
    "JobChanged",
    "JobFilter",
    "JobList",
    "JobRequest",
    "JobState",
    "JobsChanged",
    "LinkLost",
    "Listener",
    "Liveness",
    "Market",
    "MemoryStorage",
    "NoAnswer",
    "NoToken",
    "Offer",
    "OfferClosed",
    "OperatorClient",
    "OrderClient",
    "OrderClientSync",
    "Pace",
    "Pickup",
    "PickupStore",
    "ProblemCode",
    "ProblemKind",
    "Proof",
    "ProofKind",
    "QueueFull",
    "Quote",
    "Reply",
    "ReportSettled",
    "RequestRefused",
    "SocketJob",
    "StateChanged",
    "Step",
    "StepName",
    "Stopped",
    "Storage",
    "TokenProvider",
    "TokenTrouble",
    "Unreachable",
    "Vehicle",
    "Welcome",
    "Wish",
    "WishName",
    "WishRefused",
]
