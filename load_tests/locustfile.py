"""Load tests of a Mallard engine: ``locust -f load_tests/locustfile.py``; see README.md here."""

from locust import events

from load_tests.conductor import Conductor
from load_tests.day import Day
from load_tests.users import DriverUser, OrderUser

__all__ = ["Day", "DriverUser", "OrderUser"]

Conductor().attach(events)
