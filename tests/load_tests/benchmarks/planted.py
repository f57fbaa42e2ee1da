"""The engine with a regression: a match looks twice. For `test_checks`."""

import sys
from typing import Any

from load_tests.benchmarks.engine.__main__ import main
from mallard_engine.storage.redis_store import RedisStore

_candidates = RedisStore.candidates


async def twice(store: RedisStore, *args: Any, **named: Any) -> Any:
    await _candidates(store, *args, **named)
    return await _candidates(store, *args, **named)


RedisStore.candidates = twice  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    sys.exit(main())
