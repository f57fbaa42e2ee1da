"""Detects nodes of one storage that have different market policies, by published fingerprints.

Nodes with different policies all work, so the market behaves sometimes by one policy and sometimes
by another. That is normal for a minute during a deployment, and a mistake after it.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mallard_engine.core.policy import MarketPolicy

KEY: Final = "mallard:policies"
# A node renews its entry every 15 s; an older entry is that of a dead node.
FRESH_MS: Final = 60_000


def fingerprint(policy: MarketPolicy) -> str:
    """Return a policy's fingerprint: eight hexadecimal digits.

    A path counts by its file name only, because nodes may keep their files in different folders.
    """

    def plain(value: Any) -> Any:
        return value.name if isinstance(value, Path) else str(value)

    text = json.dumps(asdict(policy), sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


async def disagreements(
    call: Callable[..., Awaitable[Any]], node: str, prints: Mapping[str, str], now_ms: int
) -> list[str]:
    """Publish a node's fingerprints by market; return one line for each market that differs.

    `call` sends a command; its exceptions are passed on.
    """
    entry = json.dumps({"at_ms": now_ms, "policies": dict(prints)})
    # Together: an idle Redis wakes once for both.
    _, flat = await asyncio.gather(call("HSET", KEY, node, entry), call("HGETALL", KEY))
    others = dict(zip(flat[::2], flat[1::2], strict=True))
    others.pop(node.encode(), None)
    fresh: dict[str, Mapping[str, str]] = {}
    for name, packed in others.items():
        entry = json.loads(packed)
        if entry["at_ms"] >= now_ms - FRESH_MS:
            fresh[name.decode()] = entry["policies"]
        else:
            await call("HDEL", KEY, name)
    return list(_disputes(prints, fresh))


def _disputes(prints: Mapping[str, str], others: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for market, ours in sorted(prints.items()):
        differing = sorted(
            f"{node} has {theirs[market]}"
            for node, theirs in others.items()
            if theirs.get(market, ours) != ours
        )
        if differing:
            yield f"policies of {market} differ: this node has {ours}, {', '.join(differing)}"
