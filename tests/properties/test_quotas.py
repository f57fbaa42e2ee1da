"""Quotas of services are kept exactly, however jobs end."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import hypothesis
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from mallard_engine.storage.scripts import Script
from tests.properties.planting import with_bug
from tests.properties.profiles import DEEP, SHORT
from tests.properties.quota_machine import QuotaMachine

pytestmark = [pytest.mark.slow, pytest.mark.finding("A10")]

SEEDS = range(100 if DEEP else 3)
_REPLAYED = "  if hash == arg.hash then return reply('replayed', job) end\n"
# Each bug as a change of `submit.lua`.
PLANTED = {
    "an ended job keeps its place": ("if job then redis.call('ZREM', open, job) end", ""),
    "a repeat takes a place": (
        _REPLAYED,
        "  redis.call('ZADD', OPEN, 0, arg.service .. '/' .. arg.job .. '+')\n" + _REPLAYED,
    ),
    "services whose names begin alike share": (
        "'[' .. service .. '/', '(' .. service .. '0'",
        "'[' .. service, '(' .. service .. '~'",
    ),
    "one job more than the quota": ("open >= arg.max_open", "open > arg.max_open"),
    "bytes are counted for ever": ("if tonumber(days[i]) < first", "if false"),
    "bytes are forgotten a day early": (
        "if tonumber(days[i]) < first",
        "if tonumber(days[i]) <= first",
    ),
    "the new job has no size": ("stored_bytes(STORED) + bytes", "stored_bytes(STORED)"),
}


def run(url: str, seed: int, look: settings, scripts: Mapping[str, Script] | None = None) -> None:
    machine = hypothesis.seed(seed)(partial(QuotaMachine, url, scripts))
    # Any factory will do, whatever its stub says.
    run_state_machine_as_test(cast("type[RuleBasedStateMachine]", machine), settings=look)


@pytest.mark.timeout(240)  # a red one is made short first
@pytest.mark.parametrize("seed", SEEDS)
def test_quotas_are_kept_exactly(redis_url: str, seed: int) -> None:
    run(redis_url, seed, SHORT)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_in_quotas_is_found(redis_url: str, bug: str) -> None:
    scripts = with_bug("submit", [PLANTED[bug]])
    with pytest.raises(AssertionError, match="the store says"):
        run(redis_url, 0, settings(SHORT, phases=[Phase.generate]), scripts)
