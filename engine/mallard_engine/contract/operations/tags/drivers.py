"""Operations of driver apps, the socket's upgrade included."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation, Parameter
from mallard_engine.contract.operations.shapes import DRIVER
from mallard_protocol import resources
from mallard_protocol.codes import SUBPROTOCOLS, ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Drivers", roles=DRIVER)

DRIVERS: Final = (
    _operation(
        name="openDriverSocket",
        method="get",
        path="/v1/driver",
        summary="The driver socket (WebSocket); its messages are in the AsyncAPI document",
        parameters=(
            Parameter(
                "Sec-WebSocket-Protocol",
                f"One or both of {', '.join(SUBPROTOCOLS)}",
                {"type": "string"},
                place="header",
                required=True,
            ),
        ),
        status=101,
        problems=(P.FORBIDDEN, P.UPGRADE_REQUIRED),
    ),
    _operation(
        name="sendLocations",
        method="post",
        path="/v1/driver/locations",
        summary="Send position fixes without a socket; the answer says which were dropped, and why",
        body=resources.FixesRequest,
        answer=resources.FixesResult,
    ),
    _operation(
        name="getDriverState",
        method="get",
        path="/v1/driver/state",
        summary="Read the driver's state, offer and jobs, as in `welcome`",
        answer=resources.DriverTruth,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="setDriverStatus",
        method="post",
        path="/v1/driver/status",
        summary="Set what the driver wants now, and until when",
        body=resources.StatusRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NO_POSITION, P.HOLDS_JOBS),
    ),
    _operation(
        name="acceptOffer",
        method="post",
        path="/v1/driver/offers/{offer}/accept",
        summary="Accept an offer; a repeat gets the same answer for 10 min",
        body=resources.AcceptRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.OFFER_CLOSED),
    ),
    _operation(
        name="declineOffer",
        method="post",
        path="/v1/driver/offers/{offer}/decline",
        summary="Decline an offer; a repeat gets the same answer for 10 min",
        body=resources.DeclineRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.OFFER_CLOSED),
    ),
    _operation(
        name="reportProgress",
        method="post",
        path="/v1/driver/jobs/{job}/progress",
        summary="Report a step of a held job; repeatable",
        body=resources.ProgressRequest,
        answer=resources.DriverReply,
        problems=(
            P.NOT_FOUND,
            P.BAD_FIELD,
            P.NOT_YOURS,
            P.STALE_ATTEMPT,
            P.WRONG_STATE,
            P.NO_POSITION,
            P.PROOF_NEEDED,
            P.WRONG_CODE,
        ),
    ),
    _operation(
        name="reportProblem",
        method="post",
        path="/v1/driver/problems",
        summary="Report a problem at a store, with a customer or on the road",
        body=resources.ProblemRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.STALE_ATTEMPT),
    ),
)
