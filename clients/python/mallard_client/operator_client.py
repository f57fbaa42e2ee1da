"""Clients of an operator: `OperatorClient` with asyncio and `OperatorClientSync` without.

They are those of an order service with further calls.
"""

from mallard_client import operator_calls
from mallard_client.http.transport import awaited, blocking
from mallard_client.orders.client import OrderClient, OrderClientSync

__all__ = ["OperatorClient", "OperatorClientSync"]


class OperatorClient(OrderClient):
    """An operator's client; an async context manager. `token` is of the role ``operator``."""

    assign = awaited(operator_calls.assign)
    unassign = awaited(operator_calls.unassign)
    close_job = awaited(operator_calls.close_job)
    drivers = awaited(operator_calls.drivers)
    driver = awaited(operator_calls.driver)
    put_driver = awaited(operator_calls.put_driver)
    suspend = awaited(operator_calls.suspend)
    resume = awaited(operator_calls.resume)
    transfer = awaited(operator_calls.transfer)
    pause = awaited(operator_calls.pause)
    unpause = awaited(operator_calls.unpause)
    revoke_tokens = awaited(operator_calls.revoke_tokens)
    alerts = awaited(operator_calls.alerts)
    acknowledge = awaited(operator_calls.acknowledge)
    dead_letters = awaited(operator_calls.dead_letters)
    retry = awaited(operator_calls.retry)
    policy = awaited(operator_calls.policy)
    put_policy = awaited(operator_calls.put_policy)
    nodes = awaited(operator_calls.nodes)
    drain = awaited(operator_calls.drain)
    audit = awaited(operator_calls.audit)


class OperatorClientSync(OrderClientSync):
    """`OperatorClient` without asyncio: the same calls, a plain context manager."""

    assign = blocking(operator_calls.assign)
    unassign = blocking(operator_calls.unassign)
    close_job = blocking(operator_calls.close_job)
    drivers = blocking(operator_calls.drivers)
    driver = blocking(operator_calls.driver)
    put_driver = blocking(operator_calls.put_driver)
    suspend = blocking(operator_calls.suspend)
    resume = blocking(operator_calls.resume)
    transfer = blocking(operator_calls.transfer)
    pause = blocking(operator_calls.pause)
    unpause = blocking(operator_calls.unpause)
    revoke_tokens = blocking(operator_calls.revoke_tokens)
    alerts = blocking(operator_calls.alerts)
    acknowledge = blocking(operator_calls.acknowledge)
    dead_letters = blocking(operator_calls.dead_letters)
    retry = blocking(operator_calls.retry)
    policy = blocking(operator_calls.policy)
    put_policy = blocking(operator_calls.put_policy)
    nodes = blocking(operator_calls.nodes)
    drain = blocking(operator_calls.drain)
    audit = blocking(operator_calls.audit)
