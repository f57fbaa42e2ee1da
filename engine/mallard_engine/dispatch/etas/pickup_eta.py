"""Computes tours and expected times of single held jobs."""

from mallard_engine.core.model import Job, Need
from mallard_engine.core.pickup.pickup_plan import job_tour, job_tour_done_by
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.dispatch.context import Context
from mallard_engine.ports import NoSuchDriver


class PickupEta:
    """Computes tours and times of single jobs, outside of rounds."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def tour(self, job: Job) -> Tour:
        """Return the tour of the job's stores.

        It depends on when the driver arrived or, before that, on the expected pickup time.
        """
        mall = self._context.places.mall(job.mall)
        service_time = self._context.service_time(job.market)
        arrive_ms = job.arrived_ms
        if arrive_ms is None and job.eta_pickup_ms is not None:
            tour = job_tour_done_by(mall, job.need, service_time, job.eta_pickup_ms)
            if tour is not None:
                return tour
        return job_tour(mall, job.need, service_time, arrive_ms or job.updated_ms)

    async def etas(self, job: Job, need: Need) -> tuple[int, int] | None:
        """Return the pickup and drop-off times (epoch ms) of a held job with another need.

        Returns:
            None if no driver holds the job.

        Raises:
            StoreUnavailable: The storage cannot be reached.
        """
        if job.driver is None or not job.held:
            return None
        context, now_ms = self._context, self._context.storage.now_ms()
        mall, travel = context.places.mall(job.mall), context.travel_time(job.market)
        service_time = context.service_time(job.market)
        arrive_ms = job.arrived_ms
        if arrive_ms is None:
            gate = mall.gates[job_tour(mall, need, service_time, now_ms).gate]
            arrive_ms = now_ms
            try:
                at = (
                    await context.storage.drivers.snapshot(job.market, job.driver)
                ).driver.position
            except NoSuchDriver:
                at = None
            if at is not None:
                way_s = travel.seconds(at.lat, at.lon, gate.lat, gate.lon, now_ms)
                arrive_ms += int(way_s * 1000)
        tour = job_tour(mall, need, service_time, arrive_ms)
        gate = mall.gates[tour.gate]
        pickup_ms = max(tour.done_ms(arrive_ms), now_ms)
        way_s = travel.seconds(gate.lat, gate.lon, need.lat, need.lon, pickup_ms)
        door_s = context.policy(job.market).dropoff_dwell_s
        return pickup_ms, pickup_ms + tour.back_ms + int((way_s + door_s) * 1000)
