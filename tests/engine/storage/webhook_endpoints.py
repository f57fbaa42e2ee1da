"""Endpoints of webhooks for the tests of the storage."""

from typing import Any

from mallard_engine.core.webhooks.endpoints import Endpoint, Secret
from tests.engine.storage.worlds import START_MS


def endpoint(name: str, **fields: Any) -> Endpoint:
    """An endpoint of the order service `toys`, as its owner stated it."""
    stated: dict[str, Any] = {
        "owner": "toys",
        "service": "toys",
        "url": "https://toys.example/hook",
        "types": (),
        "markets": (),
        "description": "",
        "secrets": (Secret("whsec_AAAA"),),
        "created_ms": START_MS,
        "updated_ms": START_MS,
    }
    return Endpoint(id=name, **(stated | fields))
