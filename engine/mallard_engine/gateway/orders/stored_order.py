"""An order as it is stored: the request with its defaults filled in."""

from typing import Final, TypeVar

import msgspec
from msgspec import UnsetType

from mallard_engine.core.model import Job
from mallard_protocol.resources import JobRequest

T = TypeVar("T")

_read_request: Final = msgspec.json.Decoder(JobRequest).decode


def order_request(job: Job) -> JobRequest:
    """What was asked for, with the defaults filled in."""
    return _read_request(job.body)


def filled(value: T | UnsetType) -> T:
    """A field that has a default. Raises `ValueError` where it is still left out."""
    if isinstance(value, UnsetType):
        raise ValueError("the request's defaults are not filled in")  # noqa: TRY004 - a value's
    return value
