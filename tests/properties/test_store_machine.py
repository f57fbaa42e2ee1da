"""The real scripts under random interleavings of two nodes' calls, against a small model.

``MALLARD_TEST_DEEP=1`` looks for minutes. A failure prints the story that led to it; the same verbs
called one after the other on a ``Mallard`` tell it again (see ``test_stories.py``).
"""

import pytest
from hypothesis import Phase, settings

from tests.properties.machine import run_machine
from tests.properties.mallard import Mallard
from tests.properties.profiles import DEEP, SEEDS, SHORT, USUAL
from tests.properties.test_planted_bugs import PLANTED, Planted


@pytest.mark.slow
@pytest.mark.timeout(400)  # a red one is made short first
@pytest.mark.parametrize("seed", SEEDS)
def test_the_store_keeps_its_word(redis_url: str, seed: int) -> None:
    run_machine(lambda: Mallard(redis_url), SHORT, seed)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(not DEEP, reason="minutes: MALLARD_TEST_DEEP=1")
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_the_machine_finds_a_planted_bug_by_itself(redis_url: str, planted: Planted) -> None:
    scripts = planted.scripts()
    look = settings(SHORT, phases=[Phase.generate])

    def look_no_longer_than_usual() -> None:
        for seed in range(USUAL):
            run_machine(lambda: Mallard(redis_url, scripts), look, seed)

    with pytest.raises(AssertionError):
        look_no_longer_than_usual()
