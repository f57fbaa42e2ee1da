"""Operations of the counter of a shop."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import PAGE, STORE
from mallard_protocol import counter
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Shops", roles=STORE)

SHOPS: Final = (
    _operation(
        name="listPickups",
        method="get",
        path="/v1/stores/{mall}/{store}/pickups",
        summary="List the shop's jobs that are open or were collected today, newest first",
        parameters=PAGE,
        answer=counter.ShopPickupList,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="reportPickup",
        method="post",
        path="/v1/stores/{mall}/{store}/pickups/{job}",
        summary="Report which of a job's parcels the shop has; repeatable until they are collected",
        body=counter.PickupReport,
        answer=counter.ShopPickup,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    _operation(
        name="handOverParcels",
        method="post",
        path="/v1/stores/{mall}/{store}/pickups/{job}/handover",
        summary="Hand over parcels against the code that the driver shows; repeatable",
        body=counter.HandoverRequest,
        answer=counter.ShopPickup,
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.WRONG_CODE),
    ),
    _operation(
        name="listReturns",
        method="get",
        path="/v1/stores/{mall}/{store}/returns",
        summary="List the jobs that come back to the shop, with the code that the driver types",
        parameters=PAGE,
        answer=counter.ShopReturnList,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="receiveReturn",
        method="post",
        path="/v1/stores/{mall}/{store}/returns/{job}",
        summary="Report that a job's parcels have come back: it ends as returned; repeatable",
        answer=counter.ShopReturn,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    _operation(
        name="setShopHours",
        method="post",
        path="/v1/stores/{mall}/{store}/hours",
        summary="Close the shop until a time, or open it again; repeatable",
        body=counter.ShopHoursRequest,
        answer=counter.ShopHours,
        problems=(P.NOT_FOUND,),
    ),
)
