"""The audit's rule `webhook`: what is stored of endpoints agrees, and nothing of it is left over.

Endpoints are of no market: their keys have a hash tag of their own, and each is read in one step.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mallard_engine.contract.webhooks import MAX_WAITING
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.audit.views import Look
from mallard_engine.storage.calls.events.webhooks import owner_of
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import WEBHOOKS, MarketKeys

Judged = list[tuple[str, str]]

NO_MARKET: Final = "-"
_OF_ENDPOINTS: Final = ("since", "disabled", "failing", "missed")
_OF_A_MARKET: Final = ("replays", "behind")
_A_KEY_EACH: Final = ("queue", "waiting", "tries", "log")
_MANY: Final = 1_000


@dataclass(frozen=True, slots=True)
class _WebhookKeys(MarketKeys):
    """The keys of webhooks, by the names of their scripts."""

    def key(self, name: str) -> str:
        return f"{WEBHOOKS}{name}"


def webhook_look(link: StoreLink, now_ms: Callable[[], int] | None = None) -> Look:
    """Return what reads endpoints."""
    return Look(link, _WebhookKeys(NO_MARKET), MarketPolicy(), now_ms)


async def endpoints(look: Look) -> list[str]:
    """Return the names of all endpoints, and of deleted ones of which something is left."""
    stored = await look.read("HKEYS", look.keys.key("endpoints"))
    names = {name.decode() for name in stored}
    for field in _OF_ENDPOINTS:
        names |= {it.decode() for it in await look.read("HKEYS", look.keys.key(field))}
    held = await look.read("HKEYS", look.keys.key("leases"))
    names |= {unit.decode() for unit in held if b"/" not in unit}
    names |= {it.decode() for it in await look.read("ZRANGE", look.keys.key("untold"), 0, -1)}
    for field in _OF_A_MARKET:
        read = await look.read("HKEYS", look.keys.key(field))
        names |= {it.decode().partition("/")[0] for it in read}
    cursor: bytes = b"0"
    while True:
        match = look.keys.key("*:*")
        cursor, found = await look.read("SCAN", cursor, "MATCH", match, "COUNT", _MANY)
        for key in found:
            kind, _, name = key.decode().removeprefix(WEBHOOKS).partition(":")
            names |= {name} if kind in _A_KEY_EACH else set()
        if cursor == b"0":
            return sorted(names)


async def judge_webhook(look: Look, name: str) -> Judged:
    """Check an endpoint, its waiting deliveries, and what is recorded about it."""
    key = look.keys.key
    (
        _,
        (
            stored,
            since,
            disabled,
            failing,
            missed,
            due,
            waiting,
            tries,
            log,
            replays,
            behind,
            lease,
            unannounced,
        ),
    ) = await look.at_once(
        ("HGET", key("endpoints"), name),
        *(("HEXISTS", key(field), name) for field in _OF_ENDPOINTS),
        ("ZRANGE", key(f"queue:{name}"), 0, -1),
        ("HKEYS", key(f"waiting:{name}")),
        ("HKEYS", key(f"tries:{name}")),
        ("EXISTS", key(f"log:{name}")),
        *(("HKEYS", key(field)) for field in _OF_A_MARKET),
        ("HEXISTS", key("leases"), name),
        ("ZSCORE", key("untold"), name),
    )
    replayed = any(each.startswith(f"{name}/".encode()) for each in (*replays, *behind))
    if stored is None:
        left = (since, disabled, failing, missed, due, waiting, tries, log, replayed, lease)
        is_left = any(left) or unannounced is not None
        return [("leak", "it was deleted, and something is left of it")] if is_left else []
    found: Judged = []
    if lost := set(waiting) - set(due):
        found.append(("webhook", f"{len(lost)} deliveries wait and never fall due"))
    if empty := set(due) - set(waiting):
        found.append(("webhook", f"{len(empty)} deliveries fall due and have no event"))
    if others := set(tries) - set(due):
        found.append(("leak", f"it counts tries of {len(others)} deliveries that are over"))
    if disabled and (due or waiting or replayed):
        found.append(("webhook", f"it is disabled, and {len(waiting)} deliveries wait for it"))
    if not disabled and not since:
        found.append(("webhook", "it does not say since when it gets events"))
    if len(due) >= MAX_WAITING:
        found.append(("webhook", f"{len(due)} deliveries wait, and it is not disabled"))
    return found


async def judge_owners(look: Look) -> Judged:
    """Check how many endpoints each owner is counted to have: its bound depends on it."""
    _, (stored, owned) = await look.at_once(
        ("HGETALL", look.keys.key("endpoints")), ("HGETALL", look.keys.key("owned"))
    )
    counted = {name.decode(): int(number) for name, number in owned.items()}
    there = Counter(map(owner_of, stored.values()))
    return [
        (
            "webhook",
            f"{owner} has {there[owner]} endpoints, but {counted.get(owner, 0)} are counted",
        )
        for owner in sorted(there.keys() | counted.keys())
        if there[owner] != counted.get(owner, 0)
    ]
