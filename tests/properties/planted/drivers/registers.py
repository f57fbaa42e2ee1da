"""Bugs in the register of drivers, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order


def hello_of_a_registered_driver(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.register("d2", "one job")
    mallard.hello("d2", "n1")


def van_is_registered_for_a_small_car(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.register("d1", "van")


def connected_driver_is_registered(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.register("d2", "light")


def registered_driver_is_on_its_way(mallard: Mallard) -> None:
    """The nearest driver has accepted a job when its vehicle is registered for one job."""
    mallard.a_day_begins([(Order(), 2)])
    (driver,) = {job.holder for job in mallard.model.jobs.values()}
    mallard.register(driver, "one job")


def suspended_driver_says_hello(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.register("d0", "named", suspended=True)
    mallard.comes_to_work("d0", "n1")


def suspension_is_lifted_by_the_register(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.suspend("d0")
    mallard.register("d0", "named")


PLANTED_IN_REGISTERS = (
    Planted(
        "hello ignores the register",
        "hello",
        (("equip(rec, read_profile(KEYS[15], arg.driver))", "equip(rec, nil)"),),
        hello_of_a_registered_driver,
    ),
    Planted(
        "hello widens a registered vehicle",
        "hello",
        (
            (
                "vehicle[limit] = math.min(vehicle[limit], own)",
                "vehicle[limit] = math.max(vehicle[limit], own)",
            ),
        ),
        hello_of_a_registered_driver,
    ),
    Planted(
        "register forgets what the hello stated",
        "register",
        (("rec.said or {}", "{}"),),
        van_is_registered_for_a_small_car,
    ),
    Planted(
        "register waits for the next hello",
        "register",
        (("equip(rec, arg.profile)\n-- A driver", "-- A driver"),),
        connected_driver_is_registered,
    ),
    Planted(
        "add-on ignores a registered capacity",
        "register",
        (
            (
                "  save_driver(arg.driver, rec)\n",
                "  redis.call('HSET', K.drivers, arg.driver, cmsgpack.pack(rec))\n",
            ),
        ),
        registered_driver_is_on_its_way,
        max_run_jobs=3,
    ),
    Planted(
        "hello lifts a suspension",
        "hello",
        (("rec.unreachable = false\n", "rec.unreachable, rec.suspended = false, false\n"),),
        suspended_driver_says_hello,
    ),
    Planted(
        "register keeps a suspension",
        "register",
        (("  rec.suspended = suspended\n", "  rec.suspended = suspended or rec.suspended\n"),),
        suspension_is_lifted_by_the_register,
    ),
)
