"""Clients of an order service: `OrderClient` with asyncio and `OrderClientSync` without.

    with OrderClientSync("https://engine.example", token) as orders:
        job = orders.submit(JobRequest(pickup=Pickup("chandler-fashion-center", stores), …))
        job = orders.wait(job.id, for_end=True, timeout_s=3600)

Calls that are safe to repeat are repeated when no answer came, when something other than the engine
answered (an ingress during a deploy), and on 429, 502, 503 and 504, with full jitter and not before
``Retry-After``, for a minute at most; a submission keeps its idempotency key, so all its repeats
make one job. Answers are structs of `mallard_protocol.resources`. Every call raises
`ApiProblem` for a refusal, `Unreachable` if no engine answered and `BadAnswer` if something else
did; all are `CallFailed`. The error of a submission has its ``idempotency_key``. If it is unknown
whether a submission had an effect, repeat it with that key, never without.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Unpack

from mallard_client import webhook_calls
from mallard_client.http.event_stream import event_params
from mallard_client.http.transport import AsyncShell, SyncShell, awaited, blocking
from mallard_client.orders import requests
from mallard_client.orders.requests import AnswerName, JobFilter, job_events_path
from mallard_protocol.events import Event
from mallard_protocol.resources import Job

__all__ = ["AnswerName", "JobFilter", "OrderClient", "OrderClientSync"]


class OrderClient(AsyncShell):
    """An order service's client; an async context manager. `token` is of the role ``orders``."""

    submit = awaited(requests.submit)
    get = awaited(requests.get)
    get_tagged = awaited(requests.get_tagged)
    change = awaited(requests.change)
    submit_many = awaited(requests.submit_many)
    cancel_many = awaited(requests.cancel_many)
    erase_customer = awaited(requests.erase_customer)
    wait = awaited(requests.wait)
    page = awaited(requests.page)
    cancel = awaited(requests.cancel)
    answer = awaited(requests.answer)
    redeliver = awaited(requests.redeliver)
    ready = awaited(requests.ready)
    quote = awaited(requests.quote_job)
    tracking = awaited(requests.tracking)
    end_tracking = awaited(requests.end_tracking)
    track = awaited(requests.track)
    proofs = awaited(requests.proofs)
    explain = awaited(requests.explain)
    markets = awaited(requests.markets)
    market = awaited(requests.market)
    create_webhook = awaited(webhook_calls.create_webhook)
    webhooks_page = awaited(webhook_calls.webhooks_page)
    webhook = awaited(webhook_calls.webhook)
    change_webhook = awaited(webhook_calls.change_webhook)
    delete_webhook = awaited(webhook_calls.delete_webhook)
    rotate_webhook = awaited(webhook_calls.rotate_webhook)
    test_webhook = awaited(webhook_calls.test_webhook)
    replay_webhook = awaited(webhook_calls.replay_webhook)
    webhook_deliveries = awaited(webhook_calls.webhook_deliveries)

    def jobs(self, **filters: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Iterate over all jobs, newest first, page by page; filters as in `page`."""
        return self._all(lambda cursor: requests.page(self._caller, cursor=cursor, **filters))

    def events(
        self, market: str, *, types: Sequence[str] | None = None, after: str | None = None
    ) -> AsyncIterator[Event]:
        """Iterate over what happens in a market, from now on or after the event with that id.

        It never ends by itself, and resumes when a stream ends. Keep the id of the last event that
        you have handled: an event comes at least once, so handle each ``sequence`` once. Raises
        `ApiProblem` with ``events_trimmed`` and ``oldest`` if events after that one are gone.
        """
        return self._follow("/v1/events", event_params(market, types), after)

    def job_events(self, job: str, *, after: str | None = None) -> AsyncIterator[Event]:
        """Iterate over the events of a job, from its first one on, until it has ended."""
        return self._follow(job_events_path(job), {}, after, of_job=True)


class OrderClientSync(SyncShell):
    """`OrderClient` without asyncio: the same calls, a plain context manager."""

    submit = blocking(requests.submit)
    get = blocking(requests.get)
    get_tagged = blocking(requests.get_tagged)
    change = blocking(requests.change)
    submit_many = blocking(requests.submit_many)
    cancel_many = blocking(requests.cancel_many)
    erase_customer = blocking(requests.erase_customer)
    wait = blocking(requests.wait)
    page = blocking(requests.page)
    cancel = blocking(requests.cancel)
    answer = blocking(requests.answer)
    redeliver = blocking(requests.redeliver)
    ready = blocking(requests.ready)
    quote = blocking(requests.quote_job)
    tracking = blocking(requests.tracking)
    end_tracking = blocking(requests.end_tracking)
    track = blocking(requests.track)
    proofs = blocking(requests.proofs)
    explain = blocking(requests.explain)
    markets = blocking(requests.markets)
    market = blocking(requests.market)
    create_webhook = blocking(webhook_calls.create_webhook)
    webhooks_page = blocking(webhook_calls.webhooks_page)
    webhook = blocking(webhook_calls.webhook)
    change_webhook = blocking(webhook_calls.change_webhook)
    delete_webhook = blocking(webhook_calls.delete_webhook)
    rotate_webhook = blocking(webhook_calls.rotate_webhook)
    test_webhook = blocking(webhook_calls.test_webhook)
    replay_webhook = blocking(webhook_calls.replay_webhook)
    webhook_deliveries = blocking(webhook_calls.webhook_deliveries)

    def jobs(self, **filters: Unpack[JobFilter]) -> Iterator[Job]:
        """As `OrderClient.jobs`."""
        return self._all(lambda cursor: requests.page(self._caller, cursor=cursor, **filters))

    def events(
        self, market: str, *, types: Sequence[str] | None = None, after: str | None = None
    ) -> Iterator[Event]:
        """As `OrderClient.events`."""
        return self._follow("/v1/events", event_params(market, types), after)

    def job_events(self, job: str, *, after: str | None = None) -> Iterator[Event]:
        """As `OrderClient.job_events`."""
        return self._follow(job_events_path(job), {}, after, of_job=True)
