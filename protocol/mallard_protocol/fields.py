"""The field types of messages and resources: ids, positions, times, names of states."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from mallard_protocol.codes import JobReason
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import DriverState, JobState, ShopState


def open_enum(values: Iterable[str]) -> Meta:
    """Annotate a string field of the server that has these values in this version.

    It is not a closed `enum`: clients pass unknown values on.
    """
    known = [str(value) for value in values]
    return Meta(
        description=f"One of {', '.join(known)}; there may be others later",
        extra_json_schema={"x-extensible-enum": known},
    )


# In Python `$` also matches before a final newline, which the look-ahead excludes. The generated
# documents omit it, since `$` has no such exception in other regex dialects.
ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$(?!\n)"
Id = Annotated[str, Meta(pattern=ID_PATTERN, description="1-64 of A-Z a-z 0-9 _ . : -")]
# A name for people: no control characters, and no white space at an end, which nobody would see.
_HIDDEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
ALIAS_PATTERN = rf"^[^\s{_HIDDEN}]([^{_HIDDEN}]{{0,62}}[^\s{_HIDDEN}])?$(?!\n)"
Alias = Annotated[
    str,
    Meta(
        pattern=ALIAS_PATTERN,
        description="1-64 printable characters, no white space at an end",
    ),
]
Items = Annotated[tuple[Id, ...], Meta(max_length=32)]
MAX_LAT, MAX_LON = 90, 180
MAX_EPOCH_MS = LATEST_MS - 1
MAX_ACCURACY_M, MAX_HEADING_DEG, MAX_SPEED_MPS = 100_000, 360, 1_000

Lat = Annotated[float, Meta(ge=-MAX_LAT, le=MAX_LAT)]
Lon = Annotated[float, Meta(ge=-MAX_LON, le=MAX_LON)]
EpochMs = Annotated[int, Meta(ge=EARLIEST_MS, le=MAX_EPOCH_MS)]
RequestId = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Attempt = Annotated[int, Meta(ge=0, le=2**31)]
AccuracyM = Annotated[float, Meta(ge=0, le=MAX_ACCURACY_M)]
HeadingDeg = Annotated[float, Meta(ge=0, le=MAX_HEADING_DEG)]
SpeedMps = Annotated[float, Meta(ge=0, le=MAX_SPEED_MPS)]
ParcelCount = Annotated[int, Meta(ge=0, le=1_000)]
Text = Annotated[str, Meta(max_length=500)]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]

JobStateName = Annotated[str, open_enum(JobState)]
ShopStateName = Annotated[str, open_enum(ShopState)]
DriverStateName = Annotated[str, open_enum(DriverState)]
JobReasonName = Annotated[str, open_enum(JobReason)]
