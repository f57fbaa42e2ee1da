"""How long the machine looks.

Hypothesis makes most of a long run out of variations of what it has tried; for an interleaving it
pays more to begin anew, so a run is many short ones, each with a seed. They are the same every
time: a failure prints its seed and is repeated with `-k`.
"""

import os

from hypothesis import HealthCheck, Phase, settings

DEEP = os.environ.get("MALLARD_TEST_DEEP") == "1"

# A run of these takes a second or two.
SHORT = settings(
    max_examples=10,
    stateful_step_count=50,
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
USUAL = 15
SEEDS = range(300 if DEEP else USUAL)
