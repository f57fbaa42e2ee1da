"""The kinds of Redis that tests of whole nodes run on.

`MALLARD_TEST_STORE` names one: `sentinel`, `cluster`, or none for a single server. `.ci/stores`
runs the end-to-end tests on each.
"""

import os
from pathlib import Path

from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.workload.redis_groups import ClusterGroup, SentinelGroup

KIND = os.environ.get("MALLARD_TEST_STORE", "")


def redis_of_kind(binary: Path | None) -> EmbeddedServer | SentinelGroup | ClusterGroup:
    """Return a Redis of that kind, to be started as a context manager."""
    match KIND:
        case "":
            return EmbeddedServer(persistent=False, binary=binary)
        case "sentinel":
            return SentinelGroup(binary=binary)
        case "cluster":
            return ClusterGroup(binary=binary)
        case _:
            raise ValueError(f"MALLARD_TEST_STORE is {KIND!r}: sentinel, cluster or nothing")
