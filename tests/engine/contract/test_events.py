"""Ids and sequences of events."""

import pytest

from mallard_engine.contract.events import EVENT_MEANING, OPERATORS_ONLY
from mallard_engine.core.event_ids import Place, event_id, read_event_id
from mallard_protocol.events import ENDS, EventType

MS = 1_800_000_000_000


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
    assert {it for it in EventType if it.startswith("driver.")} <= OPERATORS_ONLY
    assert not {it for it in OPERATORS_ONLY if it.startswith("job.")}
    assert all(it.startswith("job.") for it in ENDS)
