"""The real scripts under random interleavings of two nodes' calls, against a small model.

``MALLARD_TEST_DEEP=1`` looks for minutes and differently each time; without it the run is always
the same. A failure prints the story that led to it; the same rules called one after the other on a
``Mallard`` tell it again (see ``test_stories.py``).
"""

from typing import cast

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.mallard import Mallard
from tests.properties.profiles import DEEP, LONG, QUICK


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_store_keeps_its_word(redis_url: str) -> None:
    make = cast("type[Mallard]", lambda: Mallard(redis_url))  # a factory will do
    run_state_machine_as_test(make, settings=LONG if DEEP else QUICK)
