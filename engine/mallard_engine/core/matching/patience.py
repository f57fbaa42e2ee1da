"""Limits that fit the slack of a job: long while it has hours left, short when it is urgent.

Each limit is a share of the time left (`slack_share`), between two of the market's settings.
`storage/lua/lib/patience.lua` has the same rules for the scripts; a test compares them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from mallard_engine.core.model import Asked
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import NOT_ASKED_AGAIN, Outcome


def fitted_ms(left_ms: int, least_s: float, most_s: float, policy: MarketPolicy) -> int:
    """Return the limit of a job with `left_ms` of slack; `most_s` wins if the bounds contradict."""
    least_ms, most_ms = math.ceil(least_s * 1000), math.ceil(most_s * 1000)
    return min(most_ms, max(least_ms, math.floor(policy.slack_share * left_ms)))


def longest_bars_s(policy: MarketPolicy) -> Mapping[str, float]:
    """Return for how long, at most, each outcome bars a driver from a job."""
    return {
        Outcome.DECLINED: policy.declined_s,
        Outcome.EXPIRED: policy.lapsed_s,
        Outcome.UNACKNOWLEDGED: policy.unreachable_s,
    }


def barred_until_ms(turn: Asked, expires_ms: int, policy: MarketPolicy) -> float:
    """Return until when a turn bars its driver from the job (epoch ms).

    0: it does not; infinity: only an operator gives the driver the job again.

    Args:
        turn: How the driver's offer or assignment ended.
        expires_ms: When the job expires. The time left counts from the end of the turn.
        policy: The market's policy.
    """
    if turn.outcome in NOT_ASKED_AGAIN:
        return math.inf
    most_s = longest_bars_s(policy).get(turn.outcome)
    if most_s is None:
        return 0.0
    left_ms = expires_ms - turn.at_ms
    return turn.at_ms + fitted_ms(left_ms, policy.asked_again_min_s, most_s, policy)


def barred_by(
    asked: Iterable[Asked], expires_ms: int, now_ms: int, policy: MarketPolicy
) -> frozenset[str]:
    """Return the drivers who may not be asked for the job now."""
    return frozenset(
        turn.driver for turn in asked if barred_until_ms(turn, expires_ms, policy) > now_ms
    )


def first_bar_end_ms(
    asked: Sequence[Asked], expires_ms: int, now_ms: int, policy: MarketPolicy
) -> int | None:
    """Return when the next driver may be asked again (epoch ms); None if no bar ends."""
    ends = [barred_until_ms(turn, expires_ms, policy) for turn in asked]
    return min((int(end) for end in ends if now_ms < end < math.inf), default=None)
