"""Operations that say where the engine serves."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import ETAG, IF_NONE_MATCH, ORDERS
from mallard_protocol import resources
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Markets", roles=ORDERS)

MARKETS: Final = (
    _operation(
        name="listMarkets",
        method="get",
        path="/v1/markets",
        summary="List the markets with their malls",
        parameters=(IF_NONE_MATCH,),
        answer=resources.MarketList,
        headers=ETAG,
    ),
    _operation(
        name="getMarket",
        method="get",
        path="/v1/markets/{market}",
        summary="Read one market",
        parameters=(IF_NONE_MATCH,),
        answer=resources.Market,
        headers=ETAG,
        problems=(P.NOT_FOUND,),
    ),
)
