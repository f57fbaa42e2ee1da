"""Length and seeds of the machine's runs.

Hypothesis spends most of a long run on variations of earlier examples. Fresh starts find more
interleavings, so a run consists of many short ones, each with a fixed seed. A failure prints its
seed and is repeated with `-k`.
"""

import os

from hypothesis import HealthCheck, Phase, settings

DEEP = os.environ.get("MALLARD_TEST_DEEP") == "1"

# Such a run takes one or two seconds.
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
