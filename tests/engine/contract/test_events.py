"""Types, ids and sequences of events."""

import pytest

from mallard_engine.contract.events import EVENT_MEANING, OPERATORS_ONLY
from mallard_engine.core.event_ids import Place, event_id, read_event_id
from mallard_protocol.events import ENDS, EventType

MS = 1_800_000_000_000
# As docs/topics/events.md and the contract list them.
OF_JOBS = (
    "created scheduled queued offered assigned arrived picked_up returning delivered returned"
    " cancelled expired lost failed held turned_round collected attempted transfer_started"
    " transferred risk_changed eta_changed updated driver_moved proof problem problem_resolved"
)
TO_ALL = "market.rewound webhook.disabled"
TO_OPERATORS = (
    "driver.online driver.offline driver.suspended driver.resumed driver.wake alert.raised"
    " alert.acknowledged market.paused market.resumed policy.changed"
)


def test_types_match_the_contract() -> None:
    of_jobs = {f"job.{name}" for name in OF_JOBS.split()}
    assert set(EventType) == of_jobs | {*TO_ALL.split(), *TO_OPERATORS.split()}
    assert set(OPERATORS_ONLY) == set(TO_OPERATORS.split())
    ends = ("delivered", "returned", "cancelled", "expired", "lost", "failed")
    assert set(ENDS) == {f"job.{name}" for name in ends}


def test_sequence_rises_with_the_place_and_fits_a_double() -> None:
    places = [Place(MS, 0), Place(MS, 1), Place(MS, 4095), Place(MS + 1, 0), Place(MS + 9, 3)]
    sequences = [place.sequence for place in places]
    assert sequences == sorted(set(sequences))
    in_2039 = 2_177_452_800_000
    assert Place(in_2039, 4095).sequence < 2**53


def test_id_names_its_market_and_place() -> None:
    place = Place(MS, 7)
    for market in ("phoenix", "a.b-c_d:e", "x" * 40):
        assert read_event_id(event_id(market, place)) == (market, place)
        assert read_event_id(f"{event_id(market, place)}-12") == (market, place)


@pytest.mark.parametrize(
    "text",
    ["", "1-0", "evt_phoenix", "evt_phoenix.1", "evt_phoenix.1-", "evt_phoenix.-1-0", "evt_.1-0",
     "evt_phoenix.1-0\n", "evt_phoenix.1-0-", "evt_ph nix.1-0", "job_phoenix.1-0",
     "evt_phoenix.1-0-1-2", "evt_phoenix.٣-0", f"evt_phoenix.{'9' * 16}-0"],
)  # fmt: skip
def test_text_of_another_form_is_no_event_id(text: str) -> None:
    with pytest.raises(ValueError, match="not the id"):
        read_event_id(text)


def test_every_type_is_explained() -> None:
    assert set(EVENT_MEANING) == set(EventType)
