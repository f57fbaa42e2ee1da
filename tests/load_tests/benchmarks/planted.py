"""The engine with a regression: a match looks twice. For `test_checks`."""

import sys
from typing import Any

from load_tests.benchmarks.engine.__main__ import main
from mallard_engine.storage.calls.offers import RedisOffers

_candidates = RedisOffers.candidates


async def twice(offers: RedisOffers, *args: Any, **named: Any) -> Any:
    await _candidates(offers, *args, **named)
    return await _candidates(offers, *args, **named)


RedisOffers.candidates = twice  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    sys.exit(main())
