"""Endpoints that the engine has disabled: as dead letters, and how they get what they missed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from mallard_engine.core.event_ids import Place
from mallard_engine.core.operator_records import DeadLetter
from mallard_engine.core.webhooks.endpoints import Endpoint
from mallard_engine.ports import NoSuchLetter, NoSuchWebhook, Storage
from mallard_protocol.webhooks import DisabledReason

_GAVE_UP: Final = frozenset({DisabledReason.GONE, DisabledReason.FAILING, DisabledReason.BACKLOG})
_KIND: Final = "webhook"
# The highest number within a millisecond of the event stream.
_LAST_OF_A_MS: Final = 2**32


def letters_of(endpoints: Iterable[Endpoint], markets: Sequence[str]) -> list[DeadLetter]:
    """Return the dead letters of those of these endpoints that the engine has disabled.

    Args:
        endpoints: the endpoints.
        markets: the markets that are served; the first that an endpoint reaches is its letter's.
    """
    return [
        DeadLetter(
            id=f"dead_{market}.{it.id}",
            kind=_KIND,
            at_ms=it.disabled.at_ms,
            error=it.disabled.reason,
            tries=0,
            service=it.service or "",
            webhook=it.id,
        )
        for it in endpoints
        if it.disabled is not None and it.disabled.reason in _GAVE_UP
        for market in list(filter(it.reaches, markets))[:1]
    ]


def is_of_webhook(letter: str) -> bool:
    """Whether the id of a dead letter is that of an endpoint."""
    return letter.rpartition(".")[2].startswith("wh_")


async def retry_letter(store: Storage, letter: str, markets: Sequence[str]) -> DeadLetter:
    """Enable the endpoint of a dead letter and begin to replay what it missed.

    Raises:
        NoSuchLetter: the endpoint is gone or is enabled again.
    """
    name = letter.rpartition(".")[2]
    try:
        while True:
            endpoint = await store.webhooks.get(name)
            found = [it for it in letters_of([endpoint], markets) if it.id == letter]
            if not found:
                raise NoSuchLetter(letter)
            # The operator wants it, whatever token its owner had.
            wanted = replace(endpoint, granted_ms=store.now_ms())
            if enabled := await store.webhooks.update(endpoint, wanted, enable=True):
                break
    except NoSuchWebhook:
        raise NoSuchLetter(letter) from None
    if endpoint.disabled is not None and endpoint.disabled.oldest_ms:
        await begin_replay(store, enabled, markets, endpoint.disabled.oldest_ms)
    return found[0]


async def begin_replay(
    store: Storage, endpoint: Endpoint, markets: Iterable[str], from_ms: int
) -> int:
    """Begin to queue events again from a moment on; return from when there are any (epoch ms)."""
    begins_ms = store.now_ms()
    for market in filter(endpoint.reaches, markets):
        ends = await store.event_log.ends(market)
        if ends is None:
            continue
        begins_ms = min(begins_ms, max(from_ms, ends[0].ms))
        after = Place(max(0, from_ms - 1), _LAST_OF_A_MS)
        if after < ends[1]:
            await store.webhooks.begin_replay(endpoint.id, market, after, ends[1])
    return begins_ms
