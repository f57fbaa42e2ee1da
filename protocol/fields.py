"""The fields that messages and resources are made of: ids, positions, times, names of states."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from protocol.codes import JobReason
from protocol.lifecycle import DriverState, JobState


def open_enum(values: Iterable[str]) -> Meta:
    """Annotate a string of the server that has these values today.

    It is no closed ``enum``: clients hand on values that they do not know.
    """
    known = [str(value) for value in values]
    return Meta(
        description=f"One of {', '.join(known)}; there may be others later",
        extra_json_schema={"x-extensible-enum": known},
    )


# `$` also matches before a final newline in Python; the look-ahead closes that gap and means
# nothing in other regex dialects, so the same pattern serves the OpenAPI document.
ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$(?!\n)"
Id = Annotated[str, Meta(pattern=ID_PATTERN, description="1-64 of A-Z a-z 0-9 _ . : -")]
Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
EpochMs = Annotated[int, Meta(ge=0, le=2**53)]
RequestId = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Attempt = Annotated[int, Meta(ge=0, le=2**31)]
AccuracyM = Annotated[float, Meta(ge=0, le=100_000)]
HeadingDeg = Annotated[float, Meta(ge=0, le=360)]
SpeedMps = Annotated[float, Meta(ge=0, le=1_000)]
Text = Annotated[str, Meta(max_length=500)]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]

JobStateName = Annotated[str, open_enum(JobState)]
DriverStateName = Annotated[str, open_enum(DriverState)]
JobReasonName = Annotated[str, open_enum(JobReason)]
