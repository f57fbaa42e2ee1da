"""What a node has planned for its drivers, and the events after which it no longer holds."""

from dataclasses import dataclass

from mallard_engine.dispatch.drivers.geofence_arrivals import GeofenceArrivals
from mallard_engine.dispatch.drivers.upcoming_drivers import UpcomingDrivers
from mallard_engine.dispatch.etas.live_etas import LiveEtas
from mallard_engine.dispatch.etas.run_etas import RunEtas
from mallard_protocol.codes import JobReason
from mallard_protocol.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class DriverPlans:
    """The plans of a node with the jobs of its drivers.

    Attributes:
        upcoming: The drivers who will be free soon, with whom batches plan.
        arrivals: Arrivals by geofence.
        etas: The times of accepted runs.
        live: Times that follow the positions.
    """

    upcoming: UpcomingDrivers
    arrivals: GeofenceArrivals
    etas: RunEtas
    live: LiveEtas

    def forget(self, market: str, driver: str) -> None:
        """Forget all of a driver without a socket on this node."""
        self.arrivals.forget(market, driver)
        self.upcoming.ended(market, driver)
        self.etas.ended(market, driver)
        self.live.forget(market, driver)

    def holds_unknown_job(self, market: str, driver: str) -> None:
        """Note that a driver of this node holds a job that this node did not offer to it."""
        self.arrivals.look_again(market, driver)
        # The driver's run is no longer the planned one.
        self.etas.ended(market, driver)
        self.live.holds_unknown_job(market, driver)

    def job_pushed(self, market: str, driver: str, state: str, reason: str) -> None:
        """Forget plans with what a driver held: its job has changed."""
        self.live.changed(market, driver)
        if reason == JobReason.UPDATED:
            self.etas.ended(market, driver)  # the place of the drop-off may have changed
        if state == JobState.RETURNING:
            self.arrivals.look_again(market, driver)
        if state != JobState.AT_MALL:  # an arrival changes no plan
            self.upcoming.ended(market, driver)
