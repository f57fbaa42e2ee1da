"""What any operation may answer instead, and whether a node takes traffic."""

from typing import Annotated

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol.codes import ProblemCode
from mallard_protocol.fields import open_enum


class FieldError(Struct, frozen=True):
    """One invalid field; ``pointer`` is an RFC 6901 JSON pointer into the body."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True):
    """An RFC 9457 problem. ``job``: for a duplicate, the job that exists already; ``missing`` and
    ``tries_left``: as in `error` of the driver socket; ``oldest``: the oldest event that is kept.
    """

    type: str
    title: str
    status: int
    code: Annotated[str, open_enum(ProblemCode)]
    detail: str
    errors: tuple[FieldError, ...] | UnsetType = UNSET
    job: str | UnsetType = UNSET
    missing: tuple[str, ...] | UnsetType = UNSET
    tries_left: int | UnsetType = UNSET
    oldest: str | UnsetType = UNSET


class Readiness(Struct, frozen=True):
    """A node that accepts traffic. ``warnings``: what its operator should fix, one line each."""

    status: str
    warnings: tuple[str, ...] = ()
