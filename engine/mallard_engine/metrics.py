"""The metrics of a node, served on `/metrics`.

Each node has its own registry: nothing here is global. No label ever holds an id, because each
value of a label is a time series of its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState, JobState

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FAST_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# An offer may also wait for a free driver, for minutes.
_OFFER_S = (*_FAST_S, 30, 60, 300, 1800)
_LATE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_CALL_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
# RFC 6455 section 7.4.1; an app may send any code up to 4999, which is no label.
_CLOSE_CODES = frozenset(range(1000, 1016)) | frozenset(map(int, Close))
_LAG_SAMPLE_S = 0.25


class MetricInfo(NamedTuple):
    """What `docs/reference/metrics.md` says about a metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class Metrics:
    """The metrics of one node. Times are in seconds; `render` returns the text for Prometheus.

    Every metric is created by `_counter`, `_gauge` or `_histogram`, which list it in `catalogue`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.catalogue: list[MetricInfo] = []
        self._match = self._histogram(
            "mallard_match_duration_seconds",
            "Duration of a matching round of a mall: from reading its candidates to the last offer"
            " placed.",
            _FAST_S,
        )
        self._latency = self._histogram(
            "mallard_offer_latency_seconds",
            "Time from a job's arrival until its first offer is handed to a socket (1 ms"
            " resolution).",
            _OFFER_S,
        )
        self._lateness = self._histogram(
            "mallard_offer_lateness_seconds",
            "How long after its time limit an unanswered or unacknowledged offer was ended.",
            _LATE_S,
        )
        self._offers = self._counter(
            "mallard_offers_total", "Offers by result: made, and how they ended.", "result"
        )
        self._risks = self._counter(
            "mallard_risk_changes_total",
            "Open jobs whose risk has become none, at_risk or late, by market.",
            "market",
            "risk",
        )
        self._packed_jobs = self._counter(
            "mallard_packed_jobs_total", "Jobs that had ended and were packed by this node."
        )
        self._packed_bytes = self._counter(
            "mallard_packed_bytes_total", "Bytes of the records of the jobs that were packed."
        )
        self._alerts = self._counter(
            "mallard_alerts_total",
            "Alerts for operators that this node raised, by kind.",
            "kind",
        )
        self._transfers = self._counter(
            "mallard_transfers_total",
            "Transfers of parcels between drivers by result: begun, and delivered to the second.",
            "result",
        )
        self._shop_outcomes = self._counter(
            "mallard_shop_outcomes_total",
            "Jobs that were held or failed because of a shop, by outcome and reason.",
            "outcome",
            "reason",
        )
        self._fixes = self._counter(
            "mallard_location_fixes_total",
            "Position fixes received, by result: ok, or the reason for dropping the fix.",
            "result",
        )
        self._calls = self._histogram(
            "mallard_store_call_seconds",
            "Duration of calls to Redis, by name, as the caller sees it.",
            _CALL_S,
            "call",
        )
        self._refusals = self._counter(
            "mallard_store_refusals_total",
            "Calls that Redis refused because of its own condition, by error code: OOM (full), "
            "MISCONF (cannot save), READONLY (a replica), LOADING, BUSY and others.",
            "code",
        )
        self._store_ready = self._gauge(
            "mallard_store_ready",
            "1 while Redis is reachable and accepts writes, else 0, when scraped.",
        )
        self._closed = self._counter(
            "mallard_ws_closed_total", "Driver sockets closed, by close code.", "code"
        )
        self._postponed = self._counter(
            "mallard_hellos_postponed_total",
            "Drivers who got `drain` in place of a welcome because too many hellos waited.",
        )
        self._limited = self._counter(
            "mallard_requests_limited_total",
            "Requests and handshakes over a limit, by kind: service, token, driver, connects,"
            " address, waits, streams.",
            "kind",
        )
        self._quotas = self._counter(
            "mallard_quota_refusals_total",
            "Jobs refused because the service has used up a quota, by quota: open_jobs,"
            " stored_bytes.",
            "quota",
        )
        self._refused = self._counter(
            "mallard_connections_refused_total",
            "Client connections refused or cut, by reason: too many (full, evicted, address), "
            "input over a limit (memory, head_too_large), slow, unread answers (unread), a web "
            "page of an origin that is not allowed (origin), bad_request.",
            "reason",
        )
        self._connections = self._gauge(
            "mallard_connections", "Client connections open on this node, when scraped."
        )
        self._lag = self._histogram(
            "mallard_event_loop_lag_seconds",
            "How much later than requested the event loop resumed a sleeping task.",
            _FAST_S,
        )
        self._drivers = self._gauge(
            "mallard_drivers",
            "Drivers of a market whose sockets this node holds, by shown state, when scraped.",
            "market",
            "state",
        )
        self._jobs = self._gauge(
            "mallard_jobs",
            "Jobs of a market by state, without transfers, when scraped. Every node reports the"
            " whole market: take the max() over nodes, because sum() counts each job once for each"
            " node.",
            "market",
            "state",
        )
        self._gini = self._gauge(
            "mallard_work_gini",
            "Gini coefficient over a sample of the market's drivers at work, when scraped: of "
            "jobs delivered, or pay earned, per hour of their blocks. Only in markets with "
            "weights.earnings_s. The same on every node: take the max() over nodes.",
            "market",
            "of",
        )
        self._travel = self._histogram(
            "mallard_travel_ask_seconds",
            "Duration of requests to a source of travel times before a ranking, by result: ok,"
            " slow, failed, nonsense, or resting (not sent after several failures in a row).",
            _CALL_S,
            "market",
            "source",
            "result",
        )
        self._fallbacks = self._counter(
            "mallard_travel_fallback_ways_total",
            "Pairs of places for which the straight-line estimate replaced the market's source of"
            " travel times.",
            "market",
            "source",
        )
        self._problems = self._counter(
            "mallard_problems_total",
            "Problems that drivers reported, by kind; a repeated report counts once.",
            "kind",
        )
        self._reasons = self._counter(
            "mallard_driver_reasons_total",
            "Declines, give-ups and returns that drivers reported, by step and by whether a reason"
            " was given.",
            "step",
            "given",
        )
        self._dwell = self._gauge(
            "mallard_dwell_seconds",
            "Dwell time of drivers at a mall, from arrival to pick-up of a parcel that was ready: "
            "median and 90th percentile of the last stays at the mall's stores, updated once a "
            "minute. The same on every node: take the max() over nodes.",
            "market",
            "mall",
            "statistic",
        )
        # The markets whose archives the gauges are of.
        self._archives: set[str] = set()
        self._archive_lag = self._gauge(
            "mallard_archive_lag_seconds",
            "How long the oldest ended job has been waiting for the archive, updated every 15 s; "
            "only in markets with an archive, and on one node of all: take the max() over nodes.",
            "market",
        )
        self._archive_waiting = self._gauge(
            "mallard_archive_waiting_jobs",
            "Ended jobs that the archive lacks. On one node of all: take the max().",
            "market",
        )
        self._archive_lost = self._gauge(
            "mallard_archive_lost_jobs",
            "Ended jobs that left Redis without being archived. On one node of all.",
            "market",
        )
        self._streams = self._gauge("mallard_event_streams", "Open event streams of this node.")
        self._events_sent = self._counter(
            "mallard_events_sent_total", "Events handed to event streams, by type.", "type"
        )
        self._event_lag = self._histogram(
            "mallard_event_lag_seconds",
            "Time from a change until its event is handed to the event streams (1 ms resolution).",
            _LATE_S,
        )
        self._streams_cut = self._counter(
            "mallard_event_streams_cut_total",
            "Event streams ended because their clients did not read.",
        )
        self._webhook_seconds = self._histogram(
            "mallard_webhook_attempt_seconds",
            "Duration of attempts to deliver an event to a webhook, by outcome.",
            _FAST_S,
            "outcome",
        )
        self._webhook_lag = self._histogram(
            "mallard_webhook_lag_seconds",
            "Time from a change until a webhook has its event, for first attempts that succeed.",
            _OFFER_S,
        )
        self._webhooks_leased = self._gauge(
            "mallard_webhooks", "Endpoints of webhooks that this node delivers to."
        )
        self._webhooks_waiting = self._gauge(
            "mallard_webhook_waiting", "Deliveries that wait for the endpoints of this node."
        )
        self._webhooks_disabled = self._counter(
            "mallard_webhooks_disabled_total",
            "Endpoints of webhooks that the engine has disabled, by reason.",
            "reason",
        )
        build = self._gauge(
            "mallard_build_info", "Always 1; the labels identify the build.", "version"
        )
        build.labels(_version()).set(1)
        # Looking a child up by its label takes longer than using it.
        self._call_by_name: dict[str, Histogram] = {}
        self._fixes_by_result: dict[str, Counter] = {}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.catalogue.append(MetricInfo(name, "counter", labels, text))
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.catalogue.append(MetricInfo(name, "gauge", labels, text))
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        self.catalogue.append(MetricInfo(name, "histogram", labels, text))
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def streams_open(self, number: int) -> None:
        """Record how many event streams are open."""
        self._streams.set(number)

    def events_sent(self, kind: str, number: int) -> None:
        """Count events that were handed to streams."""
        self._events_sent.labels(kind).inc(number)

    def event_lag(self, seconds: float) -> None:
        """Record how long after its change an event was handed out."""
        self._event_lag.observe(seconds)

    def webhooks(self, leased: int, waiting: int) -> None:
        """Record how many endpoints this node delivers to, and the deliveries that wait."""
        self._webhooks_leased.set(leased)
        self._webhooks_waiting.set(waiting)

    def webhook_attempt(self, outcome: str, seconds: float) -> None:
        """Record an attempt at a delivery."""
        self._webhook_seconds.labels(outcome).observe(seconds)

    def webhook_lag(self, seconds: float) -> None:
        """Record how long after its change an event was delivered."""
        self._webhook_lag.observe(seconds)

    def webhook_disabled(self, reason: str) -> None:
        """Count an endpoint that was disabled."""
        self._webhooks_disabled.labels(reason).inc()

    def slow_reader_cut(self) -> None:
        """Count a stream that has ended because its client did not read."""
        self._streams_cut.inc()

    def matched(self, seconds: float) -> None:
        """Record the duration of a matching round."""
        self._match.observe(seconds)

    def offer_sent(self, latency_s: float) -> None:
        """Record the time from a job's arrival to its first offer at a socket."""
        self._latency.observe(latency_s)

    def offer_late(self, lateness_s: float) -> None:
        """Record how long after its limit an offer was ended."""
        self._lateness.observe(lateness_s)

    def offer(self, result: str) -> None:
        """Count an offer made (`offered`) or ended (an `Outcome`)."""
        self._offers.labels(result).inc()

    def risk(self, market: str, risk: str) -> None:
        """Count a job whose risk has changed to this one."""
        self._risks.labels(market, risk).inc()

    def packed(self, jobs: int, size: int) -> None:
        """Count jobs that were packed, and the bytes of their records."""
        self._packed_jobs.inc(jobs)
        self._packed_bytes.inc(size)

    def alert(self, kind: str) -> None:
        """Count an alert for operators."""
        self._alerts.labels(kind).inc()

    def transfer(self, result: str) -> None:
        """Count a transfer that was `begun` or `delivered` here."""
        self._transfers.labels(result).inc()

    def shop_outcome(self, outcome: str, reason: str) -> None:
        """Count a job that was `held` or `failed` because of a shop."""
        self._shop_outcomes.labels(outcome, reason).inc()

    def fixes(self, result: str, count: int = 1) -> None:
        """Count fixes accepted (`ok`) or dropped for the reason `result`."""
        counter = self._fixes_by_result.get(result)
        if counter is None:
            counter = self._fixes_by_result[result] = self._fixes.labels(result)
        counter.inc(count)

    def problem(self, kind: str) -> None:
        """Count a problem that a driver reported."""
        self._problems.labels(kind).inc()

    def reason(self, step: str, *, given: bool) -> None:
        """Count a decline, a give-up or a return."""
        self._reasons.labels(step, "yes" if given else "no").inc()

    def store_called(self, call: str, seconds: float) -> None:
        """Record the duration of a call to the store."""
        histogram = self._call_by_name.get(call)
        if histogram is None:
            histogram = self._call_by_name[call] = self._calls.labels(call)
        histogram.observe(seconds)

    def store_refused(self, code: str) -> None:
        """Count a call that Redis refused; `code` is the first word of its error."""
        self._refusals.labels(code).inc()

    def archives_here(self, markets: Collection[str]) -> None:
        """Leave out the archives of other markets, which another node looks at now."""
        for market in self._archives - set(markets):
            self._archives.remove(market)
            for gauge in (self._archive_lag, self._archive_waiting, self._archive_lost):
                gauge.remove(market)

    def archive_behind(self, market: str, *, lag_s: float, waiting: int, lost: int) -> None:
        """Set how far the archive of a market is behind."""
        self._archives.add(market)
        self._archive_lag.labels(market).set(lag_s)
        self._archive_waiting.labels(market).set(waiting)
        self._archive_lost.labels(market).set(lost)

    def store_ready(self, *, ready: bool) -> None:
        """Set whether Redis is reachable and accepts writes."""
        self._store_ready.set(ready)

    def travel_asked(self, market: str, source: str, result: str, seconds: float) -> None:
        """Record the result and duration of a request for travel times."""
        self._travel.labels(market, source, result).observe(seconds)

    def travel_fell_back(self, market: str, source: str, ways: int) -> None:
        """Count pairs for which the straight-line estimate was used."""
        self._fallbacks.labels(market, source).inc(ways)

    def socket_closed(self, code: int) -> None:
        """Count a driver socket that the engine or the app closed."""
        self._closed.labels(str(code) if code in _CLOSE_CODES else "other").inc()

    def hello_postponed(self) -> None:
        """Count a driver whose hello was refused with a time to reconnect."""
        self._postponed.inc()

    def request_limited(self, kind: str) -> None:
        """Count a request or handshake over a limit."""
        self._limited.labels(kind).inc()

    def quota_exceeded(self, quota: str) -> None:
        """Count a job refused because of a quota."""
        self._quotas.labels(quota).inc()

    def connection_refused(self, reason: str) -> None:
        """Count a client connection that was refused or cut."""
        self._refused.labels(reason).inc()

    def count_connections(self, number: int) -> None:
        """Set the number of open client connections."""
        self._connections.set(number)

    def count_drivers(self, market: str, drivers: Mapping[str, int]) -> None:
        """Set the number of drivers in each state; a missing state counts as 0."""
        for state in DriverState:
            self._drivers.labels(market, state.value).set(drivers.get(state, 0))

    def count_jobs(self, market: str, jobs: Mapping[str, int]) -> None:
        """Set the number of jobs in each state; a missing state counts as 0."""
        for state in JobState:
            self._jobs.labels(market, state.value).set(jobs.get(state, 0))

    def fair(self, market: str, jobs: float, pay: float) -> None:
        """Set the Gini coefficients of jobs and pay in a market."""
        self._gini.labels(market, "jobs").set(jobs)
        self._gini.labels(market, "pay").set(pay)

    def dwell(self, market: str, mall: str, median_s: float, p90_s: float) -> None:
        """Set the dwell time at a mall."""
        self._dwell.labels(market, mall, "median").set(median_s)
        self._dwell.labels(market, mall, "p90").set(p90_s)

    def render(self) -> bytes:
        """Return all metrics in the text format of `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    @contextlib.asynccontextmanager
    async def watching_loop(self) -> AsyncIterator[None]:
        """Sample the lag of the running event loop inside the context."""
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


@cache
def _version() -> str:
    try:
        return version("mallard-engine")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
