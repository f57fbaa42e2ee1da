"""Executes the steps of HTTP calls, with and without asyncio."""

import asyncio
import random
import ssl
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack

import httpx2

from mallard_client.http.event_stream import CONNECT_S, SILENT_S, Resume
from mallard_client.http.request import (
    TRIES,
    WITHIN_S,
    Caller,
    Failure,
    Pause,
    Request,
    Response,
    Steps,
    retry_after_s,
)
from mallard_protocol.events import ENDS, Event
from mallard_protocol.resources import Job

T = TypeVar("T")
P = ParamSpec("P")
Item_co = TypeVar("Item_co", covariant=True)
_OK: Final = 200


class ClientOptions(TypedDict, total=False):
    """Options of all HTTP clients.

    Attributes:
        tries: How often a request is sent at most; by default 6.
        within_s: How long after its start a call is repeated at most; by default 60 s.
        tls: How to verify the server; by default as browsers do.
        rng: The source of randomness; tests replace it.
    """

    tries: int
    within_s: float
    tls: ssl.SSLContext | bool
    rng: random.Random


class _Page(Protocol[Item_co]):
    @property
    def items(self) -> Sequence[Item_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


class AsyncShell:
    """Executes calls with asyncio; an async context manager.

    `base_url` is the engine's, or those of several nodes that are equal. `token` is sent with every
    request.
    """

    def __init__(
        self, base_url: str | Sequence[str], token: str, **options: Unpack[ClientOptions]
    ) -> None:
        self._caller = _caller(base_url, options)
        self._http = httpx2.AsyncClient(headers=_headers(token), verify=options.get("tls", True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _follow(
        self, path: str, params: Mapping[str, str], last: str | None, *, of_job: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a stream and resume it whenever it ends, until its job has ended."""
        resume = Resume(self._caller.servers, self._caller.rng, path, params, last)
        has_ended = False
        while True:
            received = False
            try:
                async with self._http.stream(**_stream_arguments(resume)) as answer:
                    if answer.status_code == _OK:
                        resume.begins(answer.headers.get("Last-Event-ID"))
                        async for sse in httpx2.EventSource(answer):
                            event = resume.read(sse.data, sse.id)
                            received = True
                            yield event
                            if of_job and event.type in ENDS:
                                return
                        wait_s = resume.closed()
                    else:
                        wait_s = resume.refused(*_refusal(answer, await answer.aread()))
            except httpx2.RequestError:
                wait_s = resume.failed()
            else:
                if of_job and not received:
                    if has_ended:
                        return  # before the stream, which began after the job's last event
                    has_ended = (await self._run(_job_of(self._caller, path))).terminal
            await asyncio.sleep(wait_s)

    async def _all(self, page: Callable[[str | None], Steps[_Page[T]]]) -> AsyncIterator[T]:
        """Yield the items of all pages; `page` takes a cursor."""
        cursor: str | None = None
        while True:
            found = await self._run(page(cursor))
            for item in found.items:
                yield item
            if (cursor := found.next_cursor) is None:
                return

    async def _run(self, steps: Steps[T]) -> T:
        outcome: Response | Failure | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    outcome = None
                    await asyncio.sleep(step.seconds)
                else:
                    outcome = await self._send(step)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _send(self, request: Request) -> Response | Failure:
        try:
            return _response(await self._http.request(**_arguments(request)))
        except httpx2.RequestError as error:
            return _failure(error)


class SyncShell:
    """Executes calls without asyncio; a context manager. Arguments as for `AsyncShell`."""

    def __init__(
        self, base_url: str | Sequence[str], token: str, **options: Unpack[ClientOptions]
    ) -> None:
        self._caller = _caller(base_url, options)
        self._http = httpx2.Client(headers=_headers(token), verify=options.get("tls", True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _follow(
        self, path: str, params: Mapping[str, str], last: str | None, *, of_job: bool = False
    ) -> Iterator[Event]:
        """Yield the events of a stream and resume it whenever it ends, until its job has ended."""
        resume = Resume(self._caller.servers, self._caller.rng, path, params, last)
        has_ended = False
        while True:
            received = False
            try:
                with self._http.stream(**_stream_arguments(resume)) as answer:
                    if answer.status_code == _OK:
                        resume.begins(answer.headers.get("Last-Event-ID"))
                        for sse in httpx2.EventSource(answer):
                            event = resume.read(sse.data, sse.id)
                            received = True
                            yield event
                            if of_job and event.type in ENDS:
                                return
                        wait_s = resume.closed()
                    else:
                        wait_s = resume.refused(*_refusal(answer, answer.read()))
            except httpx2.RequestError:
                wait_s = resume.failed()
            else:
                if of_job and not received:
                    if has_ended:
                        return  # as above
                    has_ended = self._run(_job_of(self._caller, path)).terminal
            time.sleep(wait_s)

    def _all(self, page: Callable[[str | None], Steps[_Page[T]]]) -> Iterator[T]:
        """Yield the items of all pages; `page` takes a cursor."""
        cursor: str | None = None
        while True:
            found = self._run(page(cursor))
            yield from found.items
            if (cursor := found.next_cursor) is None:
                return

    def _run(self, steps: Steps[T]) -> T:
        outcome: Response | Failure | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    outcome = None
                    time.sleep(step.seconds)
                else:
                    outcome = self._send(step)
        except StopIteration as done:
            result: T = done.value
            return result

    def _send(self, request: Request) -> Response | Failure:
        try:
            return _response(self._http.request(**_arguments(request)))
        except httpx2.RequestError as error:
            return _failure(error)


def awaited(
    call: Callable[Concatenate[Caller, P], Steps[T]],
) -> Callable[Concatenate[AsyncShell, P], Coroutine[Any, Any, T]]:
    """Return the method of a client with asyncio that executes a call."""

    @wraps(call)
    async def method(self: AsyncShell, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(call(self._caller, *args, **kwargs))

    return method


def blocking(
    call: Callable[Concatenate[Caller, P], Steps[T]],
) -> Callable[Concatenate[SyncShell, P], T]:
    """Return the method of a client without asyncio that executes a call."""

    @wraps(call)
    def method(self: SyncShell, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(call(self._caller, *args, **kwargs))

    return method


def _caller(base_url: str | Sequence[str], options: ClientOptions) -> Caller:
    return Caller(
        [base_url] if isinstance(base_url, str) else base_url,
        tries=options.get("tries", TRIES),
        within_s=options.get("within_s", WITHIN_S),
        rng=options.get("rng") or random.Random(),
    )


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def _arguments(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "params": request.params,
        "headers": request.headers,
        "content": request.body,
        "timeout": request.timeout_s,
    }


def _job_of(caller: Caller, path: str) -> Steps[Job]:
    """Return the job of a job's stream."""
    return caller.call("GET", path.removesuffix("/events"), Job)


def _stream_arguments(resume: Resume) -> dict[str, Any]:
    return {
        "method": "GET",
        "url": resume.url(),
        "params": resume.params,
        "headers": resume.headers,
        "timeout": httpx2.Timeout(CONNECT_S, read=SILENT_S),
    }


def _refusal(answer: httpx2.Response, body: bytes) -> tuple[int, bytes, float | None]:
    wish_s = retry_after_s(answer.headers.get("Retry-After"), answer.headers.get("Date"))
    return answer.status_code, body, wish_s


def _response(answer: httpx2.Response) -> Response:
    wish_s = retry_after_s(answer.headers.get("Retry-After"), answer.headers.get("Date"))
    return Response(answer.status_code, answer.content, wish_s, answer.headers.get("ETag"))


def _failure(error: httpx2.RequestError) -> Failure:
    return Failure(f"{type(error).__name__}: {error}")
