"""Every code and reason has its meaning or advice."""

from enum import Enum
from typing import Any

import pytest

from mallard_engine.contract.advice import ERROR_ADVICE, PROBLEMS
from mallard_engine.contract.meanings import (
    BARRED_MEANING,
    JOB_REASON_MEANING,
    OFFER_CLOSED_MEANING,
    ON_MISSING_MEANING,
    ON_SHORT_MEANING,
    STATE_WHY_MEANING,
    WHY_NOT_MEANING,
)
from mallard_protocol.codes import (
    CLOSE_ADVICE,
    BarredWhy,
    Close,
    ErrorCode,
    JobReason,
    OfferClosedWhy,
    OnMissing,
    OnShort,
    ProblemCode,
    StateWhy,
    WhyNot,
)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (Close, CLOSE_ADVICE),
        (ErrorCode, ERROR_ADVICE),
        (OfferClosedWhy, OFFER_CLOSED_MEANING),
        (OnShort, ON_SHORT_MEANING),
        (OnMissing, ON_MISSING_MEANING),
        (StateWhy, STATE_WHY_MEANING),
        (WhyNot, WHY_NOT_MEANING),
        (BarredWhy, BARRED_MEANING),
        (JobReason, JOB_REASON_MEANING),
        (ProblemCode, PROBLEMS),
    ],
)
def test_every_code_is_explained(kind: type[Enum], table: dict[Any, Any]) -> None:
    assert set(table) == set(kind)


def test_problem_statuses_match_the_contract() -> None:
    statuses = {code.value: kind.status for code, kind in PROBLEMS.items()}
    assert statuses["idempotency_key_missing"] == 400
    assert statuses["malformed_json"] == 400
    assert statuses["not_found"] == 404
    assert statuses["duplicate_external_id"] == 409
    assert statuses["not_cancellable"] == 409
    assert statuses["events_trimmed"] == 410
    assert statuses["body_too_large"] == 413
    assert statuses["idempotency_mismatch"] == 422
    assert statuses["invalid_fields"] == 422
    assert statuses["mall_closed"] == 422
    assert statuses["rate_limited"] == 429
    assert {kind.status for kind in PROBLEMS.values() if kind.retry} == {429, 503}
    assert 501 not in statuses.values()
