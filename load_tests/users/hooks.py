"""Connects a run to locust's events: start, end, histograms and verdict."""

import argparse
import logging
import secrets
import shlex
import subprocess
import sys
from typing import Any, Final

import gevent
from gevent.pool import Group
from locust import log
from locust.env import Environment
from locust.event import Events
from locust.runners import WorkerRunner

from load_tests.credentials import BadCredentials, Credentials
from load_tests.histograms import Histograms
from load_tests.places import NoPlaces, RunPlaces
from load_tests.slo import Verdict, judge
from load_tests.target import NotAllowed, Target
from load_tests.users.load_run import SETTLE_S, LoadRun, WorkerShare, current_run, give_run
from load_tests.users.options import RunOptions, add_options, take_credentials
from load_tests.users.tables import latency_table, verdict_table

_log: Final = logging.getLogger(__name__)
# The key of the histograms in a worker's report to the master.
_HISTOGRAMS: Final = "mallard_histograms"


class LocustHooks:
    """The listeners of one process; a locustfile calls `attach` only."""

    def __init__(self) -> None:
        self._histograms = Histograms()
        self._credentials = Credentials()
        self._verdicts: list[Verdict] = []
        self._restarts = Group()
        self._is_worker = False

    def attach(self, events: Events) -> None:
        """Register all listeners."""
        events.init_command_line_parser.add_listener(add_options)
        events.init.add_listener(self._set_up)
        events.test_start.add_listener(self._start)
        events.spawning_complete.add_listener(self._begin)
        events.test_stopping.add_listener(self._settle)
        events.test_stop.add_listener(self._stop)
        events.request.add_listener(self._record)
        events.report_to_master.add_listener(self._send)
        events.worker_report.add_listener(self._collect)
        events.reset_stats.add_listener(self._histograms.clear)
        events.quitting.add_listener(self._judge)
        events.quit.add_listener(self._print)

    def _set_up(self, environment: Environment, **_: Any) -> None:
        options = _options(environment)
        self._environment = environment
        self._is_worker = isinstance(environment.runner, WorkerRunner)
        options.run = options.run or secrets.token_hex(3)
        try:
            self._credentials = take_credentials(options)
        except BadCredentials as error:
            sys.exit(f"mallard load test: {error}")

    # -- a run

    def _start(self, environment: Environment, **_: Any) -> None:
        """Check the target and read its places; a run that cannot start ends with status 2."""
        self._histograms.clear()
        try:
            give_run(environment, self._new_run(environment))
        except (BadCredentials, NoPlaces, NotAllowed) as error:
            _log.error("%s", error)
            environment.process_exit_code = 2
            if environment.runner is not None:
                gevent.spawn(environment.runner.quit)

    def _new_run(self, environment: Environment) -> LoadRun:
        parsed = _options(environment)
        options = RunOptions.read(environment.host, parsed)
        target = Target.of(options.urls, allow_remote=options.allow_remote)
        credentials = self._credentials
        places = RunPlaces.read(
            target.node(0), credentials.orders, markets=options.markets, malls=options.malls
        )
        runner = environment.runner
        worker = runner.worker_index if isinstance(runner, WorkerRunner) else 0
        share = WorkerShare(worker, parsed.workers)
        return LoadRun(environment, options, credentials, target, places, share)

    def _begin(self, **_: Any) -> None:
        """Start the timetable, as all users have been started."""
        run = current_run(self._environment)
        if run is None or run.seconds is not None:
            return
        run.begin()
        if not self._is_worker:
            command = run.options.on_restart
            for number, at_s in enumerate(run.options.timetable.restart_s, start=1):
                restart = gevent.spawn_later(SETTLE_S + at_s, _restart_node, command, number)
                self._restarts.add(restart)

    def _settle(self, environment: Environment, **_: Any) -> None:
        self._restarts.kill()
        if run := current_run(environment):
            run.end()

    @staticmethod
    def _stop(environment: Environment, **_: Any) -> None:
        give_run(environment, None)

    # -- measures

    def _record(
        self, name: str, response_time: float, exception: Exception | None = None, **_: Any
    ) -> None:
        self._histograms.record(name, response_time, failed=exception is not None)

    def _send(self, data: dict[str, Any], **_: Any) -> None:
        data[_HISTOGRAMS] = self._histograms.take()

    def _collect(self, data: dict[str, Any], **_: Any) -> None:
        self._histograms.add(data.get(_HISTOGRAMS, {}))

    def _judge(self, environment: Environment, **_: Any) -> None:
        """Evaluate the objectives, if any, and set the exit status."""
        if self._is_worker or environment.process_exit_code:
            return
        options = RunOptions.read(environment.host, _options(environment))
        self._verdicts = judge(options.objectives, self._histograms)
        sends_orders = any(user.fixed_count for user in environment.user_classes)
        if sends_orders and not any(self._histograms.names()):
            _log.error("nothing was measured")
            environment.process_exit_code = 1
        elif self._verdicts:
            met = all(verdict.met for verdict in self._verdicts)
            # An exception in a user or a listener is not a failed request and fails the run.
            exceptions = environment.runner.exceptions if environment.runner else {}
            broken = bool(exceptions) or log.unhandled_greenlet_exception
            environment.process_exit_code = 0 if met and not broken else 1
        if options.hgrm:
            self._histograms.write(options.hgrm)

    def _print(self, **_: Any) -> None:
        if not self._is_worker:
            print(latency_table(self._histograms))
            if self._verdicts:
                print(verdict_table(self._verdicts), flush=True)


def _options(environment: Environment) -> argparse.Namespace:
    options: argparse.Namespace | None = environment.parsed_options
    assert options is not None  # noqa: S101 - these load tests run from the command line
    return options


def _restart_node(command: str | None, number: int) -> None:
    """Log that a node is to be restarted, and run the command for it, if any."""
    _log.info("restart node %d now", number)
    if command:
        done = subprocess.run([*shlex.split(command), str(number)], check=False)  # noqa: S603
        if done.returncode:
            _log.error("%s ended with %d", command, done.returncode)
