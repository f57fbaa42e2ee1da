"""The real scripts under random interleavings of two nodes' calls, against a small model.

``MALLARD_TEST_DEEP=1`` runs for minutes. A failure prints the story that led to it; the same calls
on a ``Mallard`` repeat it (see ``test_stories.py``).
"""

from functools import partial

import pytest
from hypothesis import Phase, settings

from tests.properties.machine import StoreMachine, run_machine
from tests.properties.mallard import Mallard, focused
from tests.properties.planted.planting import Planted
from tests.properties.profiles import DEEP, SEEDS, SHORT, USUAL
from tests.properties.test_planted_bugs import BUGS

# The seeds of `make test`; `make test-slow` also runs the others.
QUICK_SEEDS = 1


@pytest.mark.timeout(400)  # a failing example is shrunk first
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize(
    "seed",
    [seed if seed < QUICK_SEEDS else pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS],
)
def test_scripts_agree_with_the_model(redis_url: str, seed: int, most: int) -> None:
    """Without runs, and with runs of up to three jobs."""
    run_machine(lambda: Mallard(redis_url, max_run_jobs=most), SHORT, seed)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(not DEEP, reason="minutes: MALLARD_TEST_DEEP=1")
@pytest.mark.parametrize(
    ("planted", "rules"),
    [pytest.param(planted, rules, id=planted.name) for bugs, rules in BUGS for planted in bugs],
)
def test_machine_finds_a_planted_bug(
    redis_url: str, planted: Planted, rules: tuple[type[StoreMachine], ...]
) -> None:
    """Every second seed has only the rules of the bug's subject."""
    scripts, most = planted.scripts(), planted.max_run_jobs
    machines = (focused(*rules), Mallard)
    generate = settings(SHORT, phases=[Phase.generate])

    def run_usual_seeds() -> None:
        for seed in range(USUAL):
            build = partial(machines[seed % 2], redis_url, scripts, max_run_jobs=most)
            run_machine(build, generate, seed)

    with pytest.raises(AssertionError):
        run_usual_seeds()
