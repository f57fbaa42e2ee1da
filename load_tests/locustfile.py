"""Load tests of a Mallard engine: ``locust -f load_tests/locustfile.py``; see README.md here."""

from locust import events

from load_tests.users.driver_user import DriverUser
from load_tests.users.hooks import LocustHooks
from load_tests.users.load_shape import Day
from load_tests.users.order_user import OrderUser

__all__ = ["Day", "DriverUser", "OrderUser"]

LocustHooks().attach(events)
