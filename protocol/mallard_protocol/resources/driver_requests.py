"""What a driver app sends without a socket, and the answers."""

from typing import Annotated, Any

from msgspec import Meta, Struct, defstruct, structs

from mallard_protocol import messages
from mallard_protocol.codes import FixDropped
from mallard_protocol.fields import open_enum
from mallard_protocol.messages import Fix


class FixesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/driver/locations``: fixes as over the socket, in any order."""

    fixes: Annotated[tuple[Fix, ...], Meta(min_length=1, max_length=100)]


class DroppedFix(Struct, frozen=True):
    """Why a fix was dropped; ``fix``: its index in the request."""

    fix: int
    why: Annotated[str, open_enum(FixDropped)]


class FixesResult(Struct, frozen=True):
    """How many fixes were accepted and dropped, and why each one was dropped."""

    accepted: int
    dropped: int
    reasons: tuple[DroppedFix, ...] = ()


def _body_of(message: type[Struct], name: str, left_out: tuple[str, ...], *, strict: bool) -> Any:
    """Define the HTTP body with the fields of a socket message, except for some.

    Args:
        message: the message.
        name: the name of the body.
        left_out: the fields that the body does not have.
        strict: whether unknown fields are refused.
    """
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in structs.fields(message)
        if field.name not in left_out
    ]
    return defstruct(
        name,
        fields,
        frozen=True,
        forbid_unknown_fields=strict,
        module=__name__,
        namespace={"__doc__": message.__doc__},
    )


# A driver's requests without a socket: `type`, `id` and the fields of the path are left out.
StatusRequest = _body_of(messages.Status, "StatusRequest", ("id",), strict=True)


AcceptRequest = _body_of(messages.Accept, "AcceptRequest", ("id", "offer"), strict=True)


DeclineRequest = _body_of(messages.Decline, "DeclineRequest", ("id", "offer"), strict=True)


ProgressRequest = _body_of(messages.Progress, "ProgressRequest", ("id", "job"), strict=True)


ProblemRequest = _body_of(messages.Problem, "ProblemRequest", ("id",), strict=True)


DriverReply = _body_of(messages.Reply, "DriverReply", ("id",), strict=False)


DriverTruth = _body_of(messages.Welcome, "DriverTruth", ("session",), strict=False)
