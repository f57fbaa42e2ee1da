"""Restore a captured Redis into a server, as if it had been captured just now."""

import base64
import json
from pathlib import Path
from typing import Any

STORES = Path(__file__).parent / "stores"


def captured(name: str) -> dict[str, Any]:
    """Read a capture."""
    store: dict[str, Any] = json.loads((STORES / f"{name}.json").read_text(encoding="utf-8"))
    return store


def restore(client: Any, store: dict[str, Any]) -> None:
    """Write every key. Retention times are shifted by the age of the capture; otherwise the first
    sweep would remove ended jobs and offers."""
    seconds, microseconds = client.time()
    elapsed_ms = seconds * 1_000 + microseconds // 1_000 - store["captured_ms"]
    for name, key in store["keys"].items():
        _WRITE[key["type"]](client, name, key["values"], elapsed_ms)
        if key["ttl_ms"] >= 0:
            client.pexpire(name, key["ttl_ms"])


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _zset(client: Any, name: str, values: list[Any], elapsed_ms: int) -> None:
    shift = elapsed_ms if name.endswith(":forget") else 0
    client.zadd(name, {_bytes(member): score + shift for member, score in values})


def _stream(client: Any, name: str, values: list[Any], _: int) -> None:
    for entry, fields in values:
        client.xadd(name, {field: _bytes(value) for field, value in fields.items()}, id=entry)


_WRITE: dict[str, Any] = {
    "string": lambda client, name, value, _: client.set(name, _bytes(value)),
    "hash": lambda client, name, values, _: client.hset(
        name, mapping={field: _bytes(value) for field, value in values.items()}
    ),
    "set": lambda client, name, values, _: client.sadd(name, *map(_bytes, values)),
    "list": lambda client, name, values, _: client.rpush(name, *map(_bytes, values)),
    "zset": _zset,
    "stream": _stream,
}
