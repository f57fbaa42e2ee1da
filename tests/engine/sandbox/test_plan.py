"""What a robot does, by the ending and the record of a job; the documents list every ending."""

import re
from pathlib import Path

import pytest

from mallard_engine.contract.sandbox import FINAL_STATES, Ending
from mallard_engine.sandbox.plan import short_parcels

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("asked", "left"),
    [([2], [1]), ([5], [4]), ([1, 3], [1, 2]), ([1, 1], [0, 1]), ([2, 2, 1], [1, 2, 1])],
)
def test_short_leaves_one_parcel_out_and_some_on_board(asked: list[int], left: list[int]) -> None:
    assert short_parcels(asked) == left


def test_every_ending_but_your_drivers_has_a_final_state() -> None:
    assert set(FINAL_STATES) == set(Ending) - {Ending.YOUR_DRIVER}


@pytest.mark.parametrize("page", ["howto/sandbox.md", "contract/protocol.md"])
def test_pages_name_every_ending(page: str) -> None:
    named = set(re.findall(r"`([a-z_]+)`", (DOCS / page).read_text()))
    assert set(Ending) <= named


def test_how_to_states_the_final_states() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (.*) \|$", (DOCS / "howto/sandbox.md").read_text(), re.MULTILINE
    )
    stated = {name: state for name, state in rows if name != "your_driver"}
    assert set(stated) == set(FINAL_STATES)
    for ending, state in FINAL_STATES.items():
        assert stated[ending].startswith((f"`{state}`", "as `customer_out`"))
