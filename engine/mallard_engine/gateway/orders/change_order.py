"""Changes a stored order as its order service or an operator asks."""

from collections.abc import Callable
from typing import Final

from msgspec import UNSET

from mallard_engine.core.model import TRANSFER, Job
from mallard_engine.core.order_change import OrderChange
from mallard_engine.gateway.orders.order_patch import PatchedOrder, patch_order
from mallard_engine.gateway.services import Services
from mallard_engine.ports import JobRef, WrongState
from mallard_protocol.changes import JobPatch
from mallard_protocol.codes import RequiredProof

_RULES: Final = frozenset({"/on_short", "/on_missing"})
_PAY: Final = frozenset({"/pay/amount_minor", "/pay/currency", "/pay/max_minor"})


async def change_order(
    services: Services,
    job: Job,
    patch: JobPatch,
    actor: str,
    *,
    unless_touched: bool = False,
) -> bool:
    """Apply a patch to a job's order; return False if the job has changed: read it again.

    Args:
        services: the node.
        job: the job as it was read.
        patch: what changes.
        actor: who asks for it.
        unless_touched: nothing may have changed since, not even its state.

    Raises:
        WrongState: it is a transfer, which is not a customer's order.
        TooLate: see `order_patch.patch_order`.
        InvalidOrder: see there.
    """
    if job.kind == TRANSFER:
        raise WrongState(job.state)
    orders, now_ms = services.dispatcher.orders, services.store.now_ms()
    patched = patch_order(job, patch, services.places, orders.preset(job.market), now_ms)
    if not patched.fields:
        return True
    change = _change_of(
        job, patched, lambda: orders.release_ms(job.mall, patched.valid.need, now_ms)
    )
    return await orders.change(
        JobRef(job.id, job.mall), job, change, actor=actor, unless_touched=unless_touched
    )


def _change_of(job: Job, patched: PatchedOrder, release_ms: Callable[[], int]) -> OrderChange:
    valid, fields = patched.valid, frozenset(patched.fields)
    order, need = valid.order, valid.need
    codes = tuple(it.pickup_code for it in order.pickup.stores if it.pickup_code is not UNSET)
    changes_codes = any(field.endswith("/pickup_code") for field in fields)
    return OrderChange(
        fields=patched.fields,
        until=patched.until,
        stores=patched.stores,
        body=order.body,
        card=valid.card(),
        need=need,
        release_ms=release_ms() if patched.times_change else job.release_ms,
        needs_age_check=RequiredProof.AGE_CHECK in order.needed_proof,
        pay_minor=need.pay_minor if fields & _PAY else None,
        shop_codes=codes if changes_codes else None,
        changes_rules=bool(fields & _RULES),
        changes_hold="/hold_s" in fields,
        on_undeliverable=order.on_undeliverable if "/on_undeliverable" in fields else None,
        is_moved=patched.is_moved,
        changes_course=patched.times_change or patched.is_moved,
    )
