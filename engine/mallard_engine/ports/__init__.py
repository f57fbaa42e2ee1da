"""The ports of the engine: its storage, a source of travel times, and a sink for pushes.

Each transition of the storage is one atomic step and is fenced: a call that names an outdated
attempt, a closed offer or an outdated epoch has no effect and raises :class:`Refused`. Transitions
are idempotent. Each returns the :class:`Effects` that its caller should apply. Effects are an
optimisation: if a node crashes before it has applied them, the sweeper recovers from the due set.
"""

from mallard_engine.ports.control.alerts import Alerts, DeadLetters, NoSuchAlert, NoSuchLetter
from mallard_engine.ports.control.audit_log import AuditLog
from mallard_engine.ports.control.nodes import (
    DrainRequest,
    KnownNode,
    NodeReport,
    Nodes,
    NoSuchNode,
)
from mallard_engine.ports.control.pauses import Controls, Paused
from mallard_engine.ports.control.policies import Policies, StaleVersion
from mallard_engine.ports.control.revocations import Revocation, Revocations
from mallard_engine.ports.control.sign_in_codes import SignInCodes
from mallard_engine.ports.deadlines import (
    Around,
    Deadlines,
    DueEntry,
    DueKind,
    Look,
    Packed,
    nowhere,
)
from mallard_engine.ports.drivers import (
    Answered,
    DriverFix,
    Drivers,
    DriverSnapshot,
    Hello,
    OwnDriver,
    Recorded,
    TakenBack,
)
from mallard_engine.ports.effects import Effects, Freed, LateJob, Push, PushKind
from mallard_engine.ports.events.log import EventLog, MovedJob
from mallard_engine.ports.events.webhooks import (
    Attempt,
    Endpoints,
    Leased,
    NoSuchWebhook,
    TooManyWebhooks,
    WaitingDelivery,
    Webhooks,
)
from mallard_engine.ports.jobs import (
    NO_QUOTAS,
    Changes,
    ConfirmedOrder,
    JobPage,
    JobQuery,
    JobRef,
    Jobs,
    Quotas,
    Stop,
    Submitted,
)
from mallard_engine.ports.leases import Beat, Leases, Peers, Standing
from mallard_engine.ports.offers import (
    MOST_COMING,
    Fitting,
    Found,
    FreeDrivers,
    MarketQueue,
    MoreOffers,
    Offered,
    OfferPlan,
    Offers,
    PlannedJob,
)
from mallard_engine.ports.proofs import Proofs
from mallard_engine.ports.pushes import PushEntry, PushSink, PushStream
from mallard_engine.ports.refusals import (
    DriverUnavailable,
    DuplicateExternalId,
    IdempotencyMismatch,
    NoSuchDriver,
    NoSuchJob,
    NoSuchProblem,
    OfferLive,
    QuotaExceeded,
    Refused,
    StoreFull,
    StoreUnavailable,
    TooManyImages,
    TooManyWrongCodes,
    TransferOpen,
    WrongState,
)
from mallard_engine.ports.register import Register
from mallard_engine.ports.returns import Returns
from mallard_engine.ports.shops import Shops
from mallard_engine.ports.storage import Storage
from mallard_engine.ports.transfers import TransferPlan, Transfers
from mallard_engine.ports.travel import TravelMatrixSource

__all__ = [
    "MOST_COMING",
    "NO_QUOTAS",
    "Alerts",
    "Answered",
    "Around",
    "Attempt",
    "AuditLog",
    "Beat",
    "Changes",
    "ConfirmedOrder",
    "Controls",
    "DeadLetters",
    "Deadlines",
    "DrainRequest",
    "DriverFix",
    "DriverSnapshot",
    "DriverUnavailable",
    "Drivers",
    "DueEntry",
    "DueKind",
    "DuplicateExternalId",
    "Effects",
    "Endpoints",
    "EventLog",
    "Fitting",
    "Found",
    "FreeDrivers",
    "Freed",
    "Hello",
    "IdempotencyMismatch",
    "JobPage",
    "JobQuery",
    "JobRef",
    "Jobs",
    "KnownNode",
    "LateJob",
    "Leased",
    "Leases",
    "Look",
    "MarketQueue",
    "MoreOffers",
    "MovedJob",
    "NoSuchAlert",
    "NoSuchDriver",
    "NoSuchJob",
    "NoSuchLetter",
    "NoSuchNode",
    "NoSuchProblem",
    "NoSuchWebhook",
    "NodeReport",
    "Nodes",
    "OfferLive",
    "OfferPlan",
    "Offered",
    "Offers",
    "OwnDriver",
    "Packed",
    "Paused",
    "Peers",
    "PlannedJob",
    "Policies",
    "Proofs",
    "Push",
    "PushEntry",
    "PushKind",
    "PushSink",
    "PushStream",
    "QuotaExceeded",
    "Quotas",
    "Recorded",
    "Refused",
    "Register",
    "Returns",
    "Revocation",
    "Revocations",
    "Shops",
    "SignInCodes",
    "StaleVersion",
    "Standing",
    "Stop",
    "Storage",
    "StoreFull",
    "StoreUnavailable",
    "Submitted",
    "TakenBack",
    "TooManyImages",
    "TooManyWebhooks",
    "TooManyWrongCodes",
    "TransferOpen",
    "TransferPlan",
    "Transfers",
    "TravelMatrixSource",
    "WaitingDelivery",
    "Webhooks",
    "WrongState",
    "nowhere",
]
