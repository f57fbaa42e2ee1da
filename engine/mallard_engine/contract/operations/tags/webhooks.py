"""Operations on endpoints to which events are posted."""

from functools import partial
from typing import Final

from mallard_engine.contract import webhooks
from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.shapes import ORDERS, PAGE
from mallard_protocol import webhooks as views
from mallard_protocol.codes import ProblemCode

P = ProblemCode
_operation = partial(Operation, tag="Webhooks", roles=ORDERS)
_PATH: Final = "/v1/webhooks/{id}"

WEBHOOKS: Final = (
    _operation(
        name="createWebhook",
        method="post",
        path="/v1/webhooks",
        summary="Have events posted to a URL; only this response has the signing secret",
        body=webhooks.WebhookRequest,
        status=201,
        answer=views.NewWebhook,
        headers=(("Location", "The endpoint's path"),),
        problems=(P.QUOTA_EXCEEDED,),
    ),
    _operation(
        name="listWebhooks",
        method="get",
        path="/v1/webhooks",
        summary="List your endpoints, oldest first; operators see all",
        parameters=PAGE,
        answer=views.WebhookList,
    ),
    _operation(
        name="getWebhook",
        method="get",
        path=_PATH,
        summary="Read an endpoint",
        answer=views.Webhook,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="updateWebhook",
        method="patch",
        path=_PATH,
        summary="Change an endpoint; `{state: enabled}` enables it again",
        body=webhooks.WebhookPatch,
        answer=views.Webhook,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="deleteWebhook",
        method="delete",
        path=_PATH,
        summary="Delete an endpoint and its waiting deliveries; operators may delete any",
        status=204,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="rotateWebhookSecret",
        method="post",
        path=f"{_PATH}/rotate",
        summary="Sign with a new secret; the old one signs as well for 24 h",
        answer=views.RotatedSecret,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="testWebhook",
        method="post",
        path=f"{_PATH}/test",
        summary="Post a `webhook.test` event now and return the outcome",
        answer=views.Delivery,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="replayWebhook",
        method="post",
        path=f"{_PATH}/replay",
        summary="Post events again from a time on, with the same ids, as far as they are kept",
        body=webhooks.ReplayRequest,
        status=202,
        answer=views.Replay,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    _operation(
        name="listWebhookDeliveries",
        method="get",
        path=f"{_PATH}/deliveries",
        summary="List the last attempts to deliver, newest first",
        parameters=PAGE,
        answer=views.DeliveryList,
        problems=(P.NOT_FOUND,),
    ),
)
