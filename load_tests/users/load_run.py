"""The state that the users of one locust process share in one run.

The orders of each worker require a piece of equipment that only its own drivers carry. The offer of
a job therefore arrives in the process that knows when the job was ordered, and no latency compares
the clocks of two machines. A single process requires nothing.
"""

import json
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import gevent
from gevent.pool import Group
from locust.env import Environment

from load_tests.credentials import Credentials
from load_tests.drivers.offer_ledger import Ledger
from load_tests.measurements import Measure
from load_tests.places import RunPlaces
from load_tests.shapes import Arrival
from load_tests.target import Target
from load_tests.users.driver_app import DriverApp
from load_tests.users.operator_view import OperatorView
from load_tests.users.options import RunOptions
from load_tests.users.recorder import LocustRecorder

# From the last driver's start to the first order; all drivers are online by then.
SETTLE_S: Final = 1.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """The number of this worker and of all workers; without workers, the first of one."""

    worker: int = 0
    workers: int = 1


class LoadRun:
    """One run in one process: creates the drivers and the orders."""

    def __init__(
        self,
        environment: Environment,
        options: RunOptions,
        credentials: Credentials,
        target: Target,
        places: RunPlaces,
        share: WorkerShare,
    ) -> None:
        self.options = options
        self.target = target
        self.ledger = Ledger()
        self._recorder = LocustRecorder(self.ledger, self.report)
        self.orders_token = credentials.orders
        self._environment = environment
        self._credentials = credentials
        self._places = places
        self._share = share
        self._rng = random.Random(f"{options.seed} {share.worker}")
        self._team = f"{options.name}.{share.worker}" if share.workers > 1 else None
        self._given = credentials.drivers(share.worker, share.workers)
        self._began_s: float | None = None
        self._apps: set[DriverApp] = set()
        self._drivers = 0
        self._greenlets = Group()
        self._operator = (
            OperatorView(target.node(0), credentials.operator) if credentials.can_watch else None
        )

    # -- the clock of the run

    @property
    def seconds(self) -> float | None:
        """The time since the first order was due; None while drivers connect."""
        return None if self._began_s is None else time.monotonic() - self._began_s

    @property
    def is_over(self) -> bool:
        """Whether the orders are over and the drivers had time to finish them."""
        options = self.options
        return (self.seconds or 0.0) > options.timetable.seconds + options.drain_s

    def begin(self) -> None:
        """Start the orders, as all drivers have been started."""
        if self._began_s is None:
            self._began_s = time.monotonic() + SETTLE_S
            for at_s in self.options.timetable.reconnect_s:
                self._greenlets.add(gevent.spawn_later(SETTLE_S + at_s, self._lose_all_sockets))

    def end(self) -> None:
        """Report everything that is overdue as failed."""
        self._greenlets.kill()
        now_s = time.monotonic()
        for measure, waited_s in self.ledger.overdue(now_s, self.options.grace_s):
            self.report(measure, waited_s, TimeoutError("no offer came"))
        for app in self._apps:
            away_s = now_s - app.offline_since_s
            if not app.online.is_set() and not app.rejected and away_s > self.options.grace_s:
                self.report(Measure.RECONNECT, away_s, TimeoutError("did not get back"))

    # -- drivers

    def new_driver(self) -> DriverApp | None:
        """Create a driver near a mall; None if the given tokens are used up."""
        number = self._drivers
        if self._given is not None and number >= len(self._given):
            return None
        self._drivers += 1
        given = self._given[number] if self._given is not None else None
        # Half of them start near the sale: 500 orders of one mall need 500 drivers near it.
        near_sale = self.options.timetable.shape.flash_at is not None and number % 2 == 0
        market = given.market if given else None
        mall, home = self._places.home(self._rng, market, near_flash_mall=near_sale)
        name = f"load-{self.options.name}-{self._share.worker}-{number}"
        who = given or self._credentials.driver(name, mall.market)
        app = DriverApp(
            who,
            home,
            socket_url=self.target.socket_url,
            node=number,
            habits=self.options.habits,
            team=self._team,
            recorder=self._recorder,
            report=self.report,
            rng=random.Random(self._rng.random()),
        )
        self._apps.add(app)
        return app

    def forget_driver(self, app: DriverApp) -> None:
        """Remove a driver that has stopped."""
        self._apps.discard(app)

    def watch_position(self, app: DriverApp) -> None:
        """Send a fix and, if a probe is due, wait until operators see it."""
        at_ms = app.send_fix(time.monotonic())
        if self._operator is None or not self._operator.take_turn(self.options.probe_every_s):
            return
        sent_s = time.monotonic()
        error = None if self._operator.sees(app.who, app.at, at_ms) else TimeoutError("not shown")
        self.report(Measure.VISIBLE, time.monotonic() - sent_s, error)

    # -- orders

    def arrivals(self) -> Iterator[tuple[float, Arrival]]:
        """Yield this process's orders and when each is due, by `time.monotonic`."""
        while self._began_s is None:
            gevent.sleep(_POLL_S)
        timetable, share = self.options.timetable, self._share
        for arrival in timetable.arrivals(self._rng, share.worker, share.workers):
            yield self._began_s + arrival.due_s, arrival

    def order(self, arrival: Arrival) -> tuple[str, str]:
        """Return a new external id and the JSON body of an order."""
        body = self._places.order(self._rng, self._places.flash_mall if arrival.flash else None)
        body["external_id"] = f"load-{self.options.name}-{secrets.token_hex(8)}"
        body["requires"] = [self._team] if self._team else []
        return body["external_id"], json.dumps(body)

    def posted(self, job: str, due_s: float) -> None:
        """Record the job of an accepted order, if this process has drivers to see its offer."""
        if self._drivers:
            latency_s = self.ledger.posted(job, due_s)
            if latency_s is not None:
                self.report(Measure.OFFER, latency_s, None)

    # -- measures

    def report(self, measure: Measure, seconds: float, error: Exception | None) -> None:
        """Report a measure to locust, and so to the histograms."""
        self._environment.events.request.fire(
            request_type=measure.request_type,
            name=measure.value,
            response_time=seconds * 1000,
            response_length=0,
            exception=error,
            context={},
        )

    def _lose_all_sockets(self) -> None:
        for app in self._apps:
            app.lose_socket()


def give_run(environment: Environment, run: LoadRun | None) -> None:
    """Set the run of the environment's users; None: no run."""
    vars(environment)["load_run"] = run


def current_run(environment: Environment) -> LoadRun | None:
    """Return the current run of this process."""
    run: LoadRun | None = vars(environment).get("load_run")
    return run
