"""How long the machine looks: the same way each time for `make test`, or for minutes."""

import os

from hypothesis import HealthCheck, Phase, settings

DEEP = os.environ.get("MALLARD_TEST_DEEP") == "1"

QUICK = settings(
    max_examples=180,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(
    QUICK,
    max_examples=3_000,
    stateful_step_count=80,
    derandomize=False,
    database=None,
    phases=[Phase.generate, Phase.shrink],
)
