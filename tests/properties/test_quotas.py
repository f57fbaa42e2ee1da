"""Quotas of services are exact, however jobs end."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import hypothesis
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from mallard_engine.storage.scripts import Script
from tests.properties.planted.planting import with_bug
from tests.properties.profiles import DEEP, SHORT
from tests.properties.quota_machine import QuotaMachine

pytestmark = [pytest.mark.slow, pytest.mark.finding("A10")]

SEEDS = range(100 if DEEP else 3)
_REPLAYED = "  if hash == arg.hash then return reply('replayed', job) end\n"
# Each bug as a change of `submit.lua`.
PLANTED = {
    "ended job keeps its place": ("if job then redis.call('ZREM', open, job) end", ""),
    "repeated submission takes a place": (
        _REPLAYED,
        "  redis.call('ZADD', OPEN, 0, arg.service .. '/' .. arg.job .. '+')\n" + _REPLAYED,
    ),
    "services with a common prefix share a quota": (
        "'[' .. service .. '/', '(' .. service .. '0'",
        "'[' .. service, '(' .. service .. '~'",
    ),
    "one job more than the quota": ("open >= arg.max_open", "open > arg.max_open"),
    "bytes are never released": ("if tonumber(days[i]) < first", "if false"),
    "bytes are released a day early": (
        "if tonumber(days[i]) < first",
        "if tonumber(days[i]) <= first",
    ),
    "size of the new job is not counted": ("stored_bytes(STORED) + bytes", "stored_bytes(STORED)"),
}


def run(
    url: str, seed: int, profile: settings, scripts: Mapping[str, Script] | None = None
) -> None:
    machine = hypothesis.seed(seed)(partial(QuotaMachine, url, scripts))
    # A factory works too, although the stub asks for a class.
    run_state_machine_as_test(cast("type[RuleBasedStateMachine]", machine), settings=profile)


@pytest.mark.timeout(240)  # a failing example is shrunk first
@pytest.mark.parametrize("seed", SEEDS)
def test_quotas_are_kept_exactly(redis_url: str, seed: int) -> None:
    run(redis_url, seed, SHORT)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_in_quotas_is_found(redis_url: str, bug: str) -> None:
    scripts = with_bug("submit", [PLANTED[bug]])
    with pytest.raises(AssertionError, match="the store says"):
        run(redis_url, 0, settings(SHORT, phases=[Phase.generate]), scripts)
