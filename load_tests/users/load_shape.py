"""The shape for locust: a constant number of users; the timetable drives what they do."""

import argparse

from locust import LoadTestShape, User
from locust.env import Environment
from locust.runners import MasterRunner

from load_tests.users.driver_user import DriverUser
from load_tests.users.load_run import current_run
from load_tests.users.options import RunOptions, share_with_workers
from load_tests.users.order_user import OrderUser


class Day(LoadTestShape):
    """`--users` drivers, `--spawn-rate` of them a second, orders for `--run-time`; then it ends."""

    use_common_options = True

    _users: tuple[int, float] = (0, 1.0)

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and of starts per second; None at the end of the run."""
        assert self.runner is not None  # noqa: S101 - locust sets it before the first tick
        environment = self.runner.environment
        run = current_run(environment)
        if run is None:
            self._users = self._plan(environment)
        elif run.is_over:
            return None
        return self._users

    def _plan(self, environment: Environment) -> tuple[int, float]:
        """Return one order service per worker, and the drivers."""
        parsed = environment.parsed_options
        assert parsed is not None  # noqa: S101 - these load tests run from the command line
        share_with_workers(parsed, self._workers())
        options = RunOptions.read(environment.host, parsed)
        taking_part = [it for it in environment.user_classes if _has_a_task(it, parsed)]
        OrderUser.fixed_count = parsed.workers if OrderUser in taking_part else 0
        drivers = options.drivers if DriverUser in taking_part else 0
        return OrderUser.fixed_count + drivers, options.connects_per_s

    def _workers(self) -> int:
        return self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1


def _has_a_task(user: type[User], options: argparse.Namespace) -> bool:
    """Return whether `--tags` and `--exclude-tags` leave a user any task.

    Locust would start a user without a task, and count an error whenever it picks one.
    """
    wanted, unwanted = set(options.tags or ()), set(options.exclude_tags or ())
    tags = [vars(each)["locust_tag_set"] for each in user.tasks]
    return any((not wanted or wanted & it) and not unwanted & it for it in tags)
