"""The shape that locust runs: the users stay the same, and the timetable says what they do when."""

from locust import LoadTestShape
from locust.env import Environment
from locust.runners import MasterRunner

from load_tests.load_run import current_run
from load_tests.options import RunOptions, share_with_workers
from load_tests.users import DriverUser, OrderUser


class Day(LoadTestShape):
    """`--users` drivers, `--spawn-rate` of them a second, orders for `--run-time`; then it ends."""

    use_common_options = True

    _users: tuple[int, float] = (0, 1.0)

    def tick(self) -> tuple[int, float] | None:
        """How many users there are to be, and how many start a second; None: the run is over."""
        assert self.runner is not None  # noqa: S101 - locust sets it before the first tick
        environment = self.runner.environment
        run = current_run(environment)
        if run is None:
            self._users = self._plan(environment)
        elif run.is_over:
            return None
        return self._users

    def _plan(self, environment: Environment) -> tuple[int, float]:
        """One order service for each worker, and the drivers."""
        parsed = environment.parsed_options
        assert parsed is not None  # noqa: S101 - these load tests run from the command line
        share_with_workers(parsed, self._workers())
        options = RunOptions.read(environment.host, parsed)
        OrderUser.fixed_count = parsed.workers
        orders = parsed.workers if OrderUser in environment.user_classes else 0
        drivers = options.drivers if DriverUser in environment.user_classes else 0
        return orders + drivers, options.connects_per_s

    def _workers(self) -> int:
        return self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1
