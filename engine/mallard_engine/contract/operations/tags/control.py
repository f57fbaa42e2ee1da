"""Operations by which operators control a deployment."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation, Parameter
from mallard_engine.contract.operations.shapes import ID, MARKET, OPERATOR, PAGE, instant, query
from mallard_protocol import control
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Control", roles=OPERATOR)

IF_MATCH: Final = Parameter(
    "If-Match",
    "The `ETag` of the version that it replaces, or `*`",
    {"type": "string"},
    place="header",
    required=True,
)
_WHERE: Final = (
    ("Market", "/v1/markets/{market}", "in a market"),
    ("Mall", "/v1/markets/{market}/malls/{mall}", "at a mall"),
    ("Store", "/v1/markets/{market}/malls/{mall}/stores/{store}", "at a shop"),
)
_PAUSE: Final = (
    ("pause", "Pause matching {}; live offers, runs and deadlines continue"),
    ("resume", "Resume matching {}"),
)

_PAUSES: Final = tuple(
    _operation(
        name=f"{verb}{place}",
        method="post",
        path=f"{path}/{verb}",
        summary=summary.format(where),
        body=control.PauseRequest,
        answer=control.PauseView,
        problems=(P.NOT_FOUND,),
    )
    for place, path, where in _WHERE
    for verb, summary in _PAUSE
)

CONTROL: Final = (
    *_PAUSES,
    _operation(
        name="revokeTokens",
        method="post",
        path="/v1/tokens/revoke",
        summary="Refuse the tokens of a subject that were issued up to now; later ones work",
        body=control.RevokeRequest,
        answer=control.Revoked,
        problems=(P.STORE_FULL,),
    ),
    _operation(
        name="listAlerts",
        method="get",
        path="/v1/alerts",
        summary="List the alerts of the last days, newest first",
        parameters=(
            query("state", "Only in this state", type="string", enum=list(control.AlertState)),
            MARKET,
            *PAGE,
        ),
        answer=control.AlertList,
    ),
    _operation(
        name="acknowledgeAlert",
        method="post",
        path="/v1/alerts/{id}/acknowledge",
        summary="Acknowledge an alert; a repeat changes nothing",
        answer=control.AlertView,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="listDeadLetters",
        method="get",
        path="/v1/dead-letters",
        summary="List the dead letters, newest first",
        parameters=(MARKET, *PAGE),
        answer=control.DeadLetterList,
    ),
    _operation(
        name="retryDeadLetter",
        method="post",
        path="/v1/dead-letters/{id}/retry",
        summary="Retry a dead letter",
        answer=control.DeadLetterView,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="getPolicy",
        method="get",
        path="/v1/markets/{market}/policy",
        summary="Read what operators have changed of a market's policy, and all values in force",
        answer=control.PolicyView,
        headers=(("ETag", "The version, for `If-Match`"),),
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="setPolicy",
        method="put",
        path="/v1/markets/{market}/policy",
        summary="Replace the settings of a market's policy; in force once all nodes use them",
        parameters=(IF_MATCH,),
        body=control.PolicyRequest,
        answer=control.PolicyView,
        headers=(("ETag", "The version, for `If-Match`"),),
        problems=(P.NOT_FOUND, P.PRECONDITION_REQUIRED, P.PRECONDITION_FAILED),
    ),
    _operation(
        name="listNodes",
        method="get",
        path="/v1/nodes",
        summary="List the nodes of the deployment, oldest first",
        answer=control.NodeList,
    ),
    _operation(
        name="drainNode",
        method="post",
        path="/v1/nodes/{node}/drain",
        summary="Ask a node to hand its drivers over and stop, as SIGTERM does",
        status=202,
        answer=control.NodeView,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="listAudit",
        method="get",
        path="/v1/audit",
        summary="List the calls of operators, newest first: who did what",
        parameters=(
            Parameter("actor", "Only by this operator", ID),
            instant("since", "Only made at this time or later"),
            MARKET,
            *PAGE,
        ),
        answer=control.AuditPage,
    ),
)
