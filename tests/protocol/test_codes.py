"""Every code, reason and limit of the contract exists."""

from enum import Enum

import pytest

from mallard_protocol import codes
from mallard_protocol.codes import (
    CLOSE_ADVICE,
    AnswerAction,
    BarredWhy,
    CancelReason,
    ErrorCode,
    JobReason,
    OfferClosedWhy,
    OnMissing,
    OnShort,
    OnUndeliverable,
    ProblemCode,
    RequiredProof,
    StateWhy,
)
from mallard_protocol.lifecycle import DriverState, JobState, Outcome, ShopState, Step, Wish

TRY_AGAIN = {4001, 4002, 4003, 4004, 4005, 4006, 4008}
STOP = {1009, 4500, 4501, 4503, 4506, 4507}
IN_THE_CONTRACT: dict[type[Enum], str] = {
    ErrorCode: "bad_field unknown_type not_yours stale_attempt offer_closed wrong_state holds_jobs"
    " no_position proof_needed wrong_code rate_limited store_unavailable",
    OfferClosedWhy: "expired withdrawn cancelled taken collected",
    StateWhy: "stale fixes_rejected clock_skew suspended resumed cooling_down unreachable",
    BarredWhy: "suspended cooling_down unreachable stale no_position block_over market_paused",
    JobReason: "collected held not_at_counter store_closed short updated",
    ProblemCode: "idempotency_key_missing idempotency_mismatch duplicate_external_id mall_closed"
    " not_cancellable wrong_state",
    JobState: "scheduled queued offered assigned at_mall picked_up delivered returning returned"
    " cancelled expired lost failed",
    DriverState: "offline paused available offered on_run",
    Wish: "available paused offline",
    Step: "at_mall collected picked_up at_door delivered returning resume returned give_up",
    Outcome: "accepted declined expired unacknowledged withdrawn gave_up silent unassigned held",
    ShopState: "waiting ready collected short missing closed",
    OnShort: "deliver hold fail",
    OnMissing: "hold fail",
    OnUndeliverable: "return leave hold",
    CancelReason: "customer store out_of_stock duplicate late fraud other",
    RequiredProof: "pin photo signature age_check",
    AnswerAction: "retry leave return wait instructions",
}
# The contract's list is complete for these; others may have more.
CLOSED = {ErrorCode, BarredWhy, OfferClosedWhy, JobState, DriverState, Wish, Step, Outcome}
CLOSED |= {ShopState, OnShort, OnMissing, OnUndeliverable, CancelReason, RequiredProof}
CLOSED |= {AnswerAction}


def test_close_codes_and_their_advice() -> None:
    assert {int(code) for code, advice in CLOSE_ADVICE.items() if advice.retry} == TRY_AGAIN
    assert {int(code) for code, advice in CLOSE_ADVICE.items() if not advice.retry} == STOP


@pytest.mark.parametrize("kind", IN_THE_CONTRACT)
def test_names_match_the_contract(kind: type[Enum]) -> None:
    ours = {member.value for member in kind}
    contract = set(IN_THE_CONTRACT[kind].split())
    assert contract <= ours
    if kind in CLOSED:
        assert ours == contract


def test_limits_match_the_contract() -> None:
    assert codes.SUBPROTOCOLS == ("mallard.v1.msgpack", "mallard.v1.json")
    assert (codes.MAX_FRAME_BYTES, codes.MAX_DEPTH, codes.MAX_BODY_BYTES) == (16384, 8, 65536)
    assert (codes.PING_MS, codes.LOCATION_MS, codes.HELLO_WITHIN_S) == (25_000, 4_000, 5)
    assert (codes.RATE_FRAMES_PER_S, codes.RATE_WINDOW_S) == (20, 10)
    assert (codes.ANSWER_KEPT_MS, codes.IDEMPOTENCY_KEPT_MS) == (600_000, 86_400_000)
    assert (codes.MAX_WAIT_S, codes.MAX_PAGE, codes.FUTURE_FIX_MS) == (20, 200, 5_000)
    assert (codes.BACKOFF_FIRST_S, codes.BACKOFF_MAX_S) == (0.5, 30)
