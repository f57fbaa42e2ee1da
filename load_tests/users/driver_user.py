"""The locust user that drives one driver app over a WebSocket."""

import time
from typing import Final

from locust import User, tag, task
from locust.exception import StopUser

from load_tests.users.driver_app import DriverApp
from load_tests.users.load_run import current_run

_ONLINE_WITHIN_S: Final = 30.0


class DriverUser(User):
    """A driver on a real socket. Its tasks report positions; its app answers the engine."""

    def on_start(self) -> None:
        """Connect, and wait for the welcome."""
        self._run = current_run(self.environment)
        self._app = self._run.new_driver() if self._run else None
        if self._app is not None:
            self._app.start()
            self._app.online.wait(_ONLINE_WITHIN_S)
        self._next_fix_s = time.monotonic()

    def on_stop(self) -> None:
        """Disconnect."""
        if self._run and self._app:
            self._app.stop()
            self._run.forget_driver(self._app)

    def wait_time(self) -> float:
        """Return the seconds to the next fix, at the engine's pace and without drift."""
        self._next_fix_s += self._app.location_s if self._app else 0.0
        return max(0.0, self._next_fix_s - time.monotonic())

    @tag("positions")
    @task
    def report_position(self) -> None:
        """Send a fix."""
        self._working_app().send_fix(time.monotonic())

    @tag("visibility")
    @task
    def watch_position(self) -> None:
        """Send a fix and, at most every `--probe-every-s`, measure when operators see it."""
        app = self._working_app()
        if self._run and app.online.is_set():
            self._run.watch_position(app)

    def _working_app(self) -> DriverApp:
        """Return the app. Raises `StopUser` without a run or a token, or after a rejection."""
        if self._app is None or self._app.rejected:
            raise StopUser
        return self._app
