"""Clients of Mallard for other people's programs: driver apps and order services.

They speak the public contract only; nothing of the engine is imported. What goes over the wire are
the structs of `protocol.messages` and `protocol.resources`; every failure is a `ClientError` of
`clients.errors`.
"""

from clients.drivers import DriverClient
from clients.operators import OperatorClient
from clients.orders import OrderClient, OrderClientSync

__all__ = ["DriverClient", "OperatorClient", "OrderClient", "OrderClientSync"]
