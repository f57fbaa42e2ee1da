"""Operations of operators: drivers and jobs of a market."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import OPERATOR, query
from mallard_protocol import resources
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Operators", roles=OPERATOR)

OPERATORS: Final = (
    _operation(
        name="listDrivers",
        method="get",
        path="/v1/markets/{market}/drivers",
        summary="List the drivers near a point, in every state",
        parameters=(
            query(
                "near",
                "The point: latitude, comma, longitude, in degrees",
                type="string",
                pattern=r"^-?[0-9]{1,2}(\.[0-9]+)?,-?[0-9]{1,3}(\.[0-9]+)?$",
            ),
            query("radius_m", "How far from it, in metres", type="number", exclusiveMinimum=0),
        ),
        answer=resources.DriverList,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="getDriver",
        method="get",
        path="/v1/markets/{market}/drivers/{driver}",
        summary="Read one driver: its entry in the register and its state",
        answer=resources.RegisteredDriver,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="registerDriver",
        method="put",
        path="/v1/markets/{market}/drivers/{driver}",
        summary="Replace a driver's entry in the register; `{}` erases it",
        body=resources.DriverProfile,
        answer=resources.RegisteredDriver,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="suspendDriver",
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/suspend",
        summary="Take a driver out of matching until resumed",
        body=resources.SuspendRequest,
        answer=resources.DriverView,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="transferJobs",
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/transfer",
        summary="Hand the parcels on board over to another driver",
        body=resources.TransferRequest,
        status=201,
        answer=resources.Job,
        headers=(("Location", "The transfer"),),
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.DRIVER_UNAVAILABLE),
    ),
    _operation(
        name="resumeDriver",
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/resume",
        summary="Let a suspended driver get offers again",
        answer=resources.DriverView,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="assignJob",
        method="post",
        path="/v1/jobs/{id}/assign",
        summary="Give a job to a driver, from any state before `picked_up`",
        body=resources.AssignRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.DRIVER_UNAVAILABLE),
    ),
    _operation(
        name="unassignJob",
        method="post",
        path="/v1/jobs/{id}/unassign",
        summary="Take a job from its driver and look for another",
        body=resources.UnassignRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    _operation(
        name="closeJob",
        method="post",
        path="/v1/jobs/{id}/close",
        summary="Close a job that is on board",
        body=resources.CloseRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
)
