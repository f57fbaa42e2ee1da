"""Clients of Mallard for other people's programs: driver apps and order services.

They speak the public contract only; nothing of the engine is imported.
"""

from clients.drivers import DriverClient
from clients.orders import OrderClient, OrderClientSync

__all__ = ["DriverClient", "OrderClient", "OrderClientSync"]
