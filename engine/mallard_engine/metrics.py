"""What a node counts and times, in the words of the domain; served on `/metrics`.

Each node has its own registry: nothing here is global. No label ever holds an id.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState, JobState

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FAST_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# An offer may also wait for a driver: that tail is told in minutes.
_OFFER_S = (*_FAST_S, 30, 60, 300, 1800)
_LATE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_CALL_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
# RFC 6455 section 7.4.1; an app may send any code up to 4999, which is no label.
_CLOSE_CODES = frozenset(range(1000, 1016)) | frozenset(map(int, Close))
_LAG_SAMPLE_S = 0.25


class Metrics:
    """The figures of one node. Times are seconds; `render` gives the text for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._match = self._histogram(
            "mallard_match_duration_seconds",
            "A round of a mall: from reading its candidates to the last offer placed.",
            _FAST_S,
        )
        self._latency = self._histogram(
            "mallard_offer_latency_seconds",
            "From a job's arrival to its first offer handed to a socket (1 ms resolution).",
            _OFFER_S,
        )
        self._lateness = self._histogram(
            "mallard_offer_lateness_seconds",
            "How long after its limit an unanswered or unacknowledged offer was ended.",
            _LATE_S,
        )
        self._offers = Counter(
            "mallard_offers_total",
            "Offers made and how they ended, by result.",
            ("result",),
            registry=self.registry,
        )
        self._alerts = Counter(
            "mallard_alerts_total",
            "What people must look after, as raised by this node's calls, by kind.",
            ("kind",),
            registry=self.registry,
        )
        self._fixes = Counter(
            "mallard_location_fixes_total",
            "Position fixes received, by what became of them.",
            ("result",),
            registry=self.registry,
        )
        self._calls = Histogram(
            "mallard_store_call_seconds",
            "Calls of the store, by name, as the caller saw them.",
            ("call",),
            buckets=_CALL_S,
            registry=self.registry,
        )
        self._refusals = Counter(
            "mallard_store_refusals_total",
            "Calls that the store refused because of its own condition, by Redis's error code: OOM"
            " (full), MISCONF (cannot save), READONLY (a replica), LOADING, BUSY and others.",
            ("code",),
            registry=self.registry,
        )
        self._store_ready = Gauge(
            "mallard_store_ready",
            "1 while the store can be reached and takes writes, else 0, when scraped.",
            registry=self.registry,
        )
        self._closed = Counter(
            "mallard_ws_closed_total",
            "Driver sockets closed, by close code.",
            ("code",),
            registry=self.registry,
        )
        self._limited = Counter(
            "mallard_requests_limited_total",
            "Requests and handshakes over a limit, by kind: service, token, driver, connects,"
            " address, waits.",
            ("kind",),
            registry=self.registry,
        )
        self._quotas = Counter(
            "mallard_quota_refusals_total",
            "Jobs refused because the service has used up a quota, by quota: open_jobs,"
            " stored_bytes.",
            ("quota",),
            registry=self.registry,
        )
        self._refused = Counter(
            "mallard_connections_refused_total",
            "Client connections refused or cut, by reason: too many (full, evicted, address),"
            " input over a limit (memory, head_too_large), slow, unread answers, bad_request.",
            ("reason",),
            registry=self.registry,
        )
        self._connections = Gauge(
            "mallard_connections",
            "Client connections open on this node, when scraped.",
            registry=self.registry,
        )
        self._lag = self._histogram(
            "mallard_event_loop_lag_seconds",
            "How much later than asked the event loop woke a sleeper.",
            _FAST_S,
        )
        self._drivers = Gauge(
            "mallard_drivers",
            "Drivers of a market by shown state whose sockets this node holds, when scraped.",
            ("market", "state"),
            registry=self.registry,
        )
        self._jobs = Gauge(
            "mallard_jobs",
            "Jobs of a market by state, when scraped. Every node tells the whole market's: take the"
            " max() over nodes, as sum() counts each job once a node.",
            ("market", "state"),
            registry=self.registry,
        )
        self._gini = Gauge(
            "mallard_work_gini",
            "Gini coefficient over a sample of the market's drivers at work, when scraped: of jobs "
            "delivered, or pay earned, an hour of their blocks. Where earnings are weighed. The"
            " same on every node: take the max() over nodes.",
            ("market", "of"),
            registry=self.registry,
        )
        self._travel = Histogram(
            "mallard_travel_ask_seconds",
            "A source of travel times asked ahead of a ranking, by how that ended: ok, slow,"
            " failed, nonsense, or resting (not asked, as it failed several times in a row).",
            ("market", "source", "result"),
            buckets=_CALL_S,
            registry=self.registry,
        )
        self._fallbacks = Counter(
            "mallard_travel_fallback_ways_total",
            "Ways that the straight line had to say, as the market's source did not.",
            ("market", "source"),
            registry=self.registry,
        )
        self._problems = Counter(
            "mallard_problems_total",
            "Problems that drivers reported, by kind; a repeated report counts once.",
            ("kind",),
            registry=self.registry,
        )
        self._reasons = Counter(
            "mallard_driver_reasons_total",
            "Declines, give-ups and returns that drivers reported, by step and by whether a reason"
            " was given.",
            ("step", "given"),
            registry=self.registry,
        )
        self._dwell = Gauge(
            "mallard_dwell_seconds",
            "How long drivers stay at a mall, from arrival to the parcel in hand, where that was"
            " ready before: the median and the 90th percentile of the last stays at its stores,"
            " read once a minute. The same on every node: take the max() over nodes.",
            ("market", "mall", "statistic"),
            registry=self.registry,
        )
        Gauge(
            "mallard_build_info",
            "Always 1; the labels tell the build.",
            ("version",),
            registry=self.registry,
        ).labels(_version()).set(1)
        # To look a child up by its label takes longer than to use it.
        self._call_by_name: dict[str, Histogram] = {}
        self._fixes_by_result: dict[str, Counter] = {}

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, description, buckets=buckets, registry=self.registry)

    def matched(self, seconds: float) -> None:
        """A round took so long."""
        self._match.observe(seconds)

    def offer_sent(self, latency_s: float) -> None:
        """A job's first offer was handed to a socket, so long after the job's arrival."""
        self._latency.observe(latency_s)

    def offer_late(self, lateness_s: float) -> None:
        """An offer's limit had passed by so much when the offer was ended."""
        self._lateness.observe(lateness_s)

    def offer(self, result: str) -> None:
        """An offer was made (`offered`) or has ended (an `Outcome`)."""
        self._offers.labels(result).inc()

    def alert(self, kind: str) -> None:
        """Something came up that people must look after."""
        self._alerts.labels(kind).inc()

    def fixes(self, result: str, count: int = 1) -> None:
        """Fixes were taken (`ok`) or dropped, and why."""
        counter = self._fixes_by_result.get(result)
        if counter is None:
            counter = self._fixes_by_result[result] = self._fixes.labels(result)
        counter.inc(count)

    def problem(self, kind: str) -> None:
        """A driver reported a problem."""
        self._problems.labels(kind).inc()

    def reason(self, step: str, *, given: bool) -> None:
        """A driver declined an offer, gave a job up or turned back."""
        self._reasons.labels(step, "yes" if given else "no").inc()

    def store_called(self, call: str, seconds: float) -> None:
        """A call of the store took so long."""
        histogram = self._call_by_name.get(call)
        if histogram is None:
            histogram = self._call_by_name[call] = self._calls.labels(call)
        histogram.observe(seconds)

    def store_refused(self, code: str) -> None:
        """The store refused a call; `code` is its error's first word."""
        self._refusals.labels(code).inc()

    def store_ready(self, *, ready: bool) -> None:
        """Whether the store can be reached and written."""
        self._store_ready.set(ready)

    def travel_asked(self, market: str, source: str, result: str, seconds: float) -> None:
        """A source of travel times was asked, with that result, and took so long."""
        self._travel.labels(market, source, result).observe(seconds)

    def travel_fell_back(self, market: str, source: str, ways: int) -> None:
        """So many ways were the straight line's to say."""
        self._fallbacks.labels(market, source).inc(ways)

    def socket_closed(self, code: int) -> None:
        """A driver's socket was closed, by us or by the app."""
        self._closed.labels(str(code) if code in _CLOSE_CODES else "other").inc()

    def request_limited(self, kind: str) -> None:
        """A request or a handshake was over a limit."""
        self._limited.labels(kind).inc()

    def quota_exceeded(self, quota: str) -> None:
        """A service had used up a quota."""
        self._quotas.labels(quota).inc()

    def connection_refused(self, reason: str) -> None:
        """A client's connection was refused or cut."""
        self._refused.labels(reason).inc()

    def count_connections(self, number: int) -> None:
        """How many client connections are open."""
        self._connections.set(number)

    def count_drivers(self, market: str, drivers: Mapping[str, int]) -> None:
        """How many drivers are in each state; a state that is missing has none."""
        for state in DriverState:
            self._drivers.labels(market, state.value).set(drivers.get(state, 0))

    def count_jobs(self, market: str, jobs: Mapping[str, int]) -> None:
        """How many jobs are in each state; a state that is missing has none."""
        for state in JobState:
            self._jobs.labels(market, state.value).set(jobs.get(state, 0))

    def fair(self, market: str, jobs: float, pay: float) -> None:
        """How evenly jobs and pay are spread in a market, as Gini coefficients."""
        self._gini.labels(market, "jobs").set(jobs)
        self._gini.labels(market, "pay").set(pay)

    def dwell(self, market: str, mall: str, median_s: float, p90_s: float) -> None:
        """How long drivers stay at a mall."""
        self._dwell.labels(market, mall, "median").set(median_s)
        self._dwell.labels(market, mall, "p90").set(p90_s)

    def render(self) -> bytes:
        """Return every figure in the text format of `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    @contextlib.asynccontextmanager
    async def watching_loop(self) -> AsyncIterator[None]:
        """Sample the running event loop's lag meanwhile."""
        sampler = asyncio.create_task(self._sample_lag(), name="loop lag")
        try:
            yield
        finally:
            sampler.cancel()
            await asyncio.wait({sampler})

    async def _sample_lag(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            asked = clock() + _LAG_SAMPLE_S
            await asyncio.sleep(_LAG_SAMPLE_S)
            self._lag.observe(max(0.0, clock() - asked))


def _version() -> str:
    try:
        return version("mallard-engine")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
