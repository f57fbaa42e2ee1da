"""The domain model: drivers, jobs, offers, positions; plain data without I/O.

Times are epoch milliseconds of Redis' clock, positions WGS 84 degrees.
"""

from mallard_engine.core.model.drivers import Device, Driver, HeldJob, Position
from mallard_engine.core.model.jobs import (
    TRANSFER,
    Asked,
    Cancelled,
    GivenAnswer,
    GivenProof,
    GivenReason,
    Job,
    JobHold,
    ProblemAnswer,
    ReportedProblem,
    ReturnPlace,
    ReturnPlan,
    Shop,
    StoreHold,
    Submission,
    TimelineEntry,
    UploadedImage,
)
from mallard_engine.core.model.load import Need, Vehicle
from mallard_engine.core.model.offers import (
    LiveOffer,
    Near,
    OfferedJob,
    RankedDriver,
    RoundRecord,
    Term,
    Waiting,
)

__all__ = [
    "TRANSFER",
    "Asked",
    "Cancelled",
    "Device",
    "Driver",
    "GivenAnswer",
    "GivenProof",
    "GivenReason",
    "HeldJob",
    "Job",
    "JobHold",
    "LiveOffer",
    "Near",
    "Need",
    "OfferedJob",
    "Position",
    "ProblemAnswer",
    "RankedDriver",
    "ReportedProblem",
    "ReturnPlace",
    "ReturnPlan",
    "RoundRecord",
    "Shop",
    "StoreHold",
    "Submission",
    "Term",
    "TimelineEntry",
    "UploadedImage",
    "Vehicle",
    "Waiting",
]
