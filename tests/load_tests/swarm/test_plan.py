from typing import Any

import pytest

from load_tests.swarm.plan import BadPlan, SwarmPlan
from load_tests.target import NotAllowed

NODE = ("http://127.0.0.1:8000",)


def test_another_process_gets_the_same_plan() -> None:
    plan = SwarmPlan(urls=NODE, markets=("phoenix",), rate=3.5)
    sent = {name: list(it) if isinstance(it, tuple) else it for name, it in plan.to_wire().items()}
    assert SwarmPlan.from_wire(sent) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"drivers": 0},
        {"rate": -1.0},
        {"seconds": 0.0},
        {"processes": 0},
        {"processes": 2, "drivers": 1},
        {"decline_share": 0.6, "lapse_share": 0.6},
        {"crowd": 20, "drivers": 10},
        {"hold_s": float("nan")},
    ],
)
def test_invalid_values_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadPlan, match=next(iter(wrong))):
        SwarmPlan(urls=NODE, **wrong)


def test_remote_machine_needs_permission() -> None:
    with pytest.raises(NotAllowed, match="--allow-remote"):
        SwarmPlan(urls=("http://192.0.2.1:8000",))
    meant = SwarmPlan(urls=("http://192.0.2.1:8000",), allow_remote=True)
    assert meant.target.nodes == ("http://192.0.2.1:8000",)


def test_drivers_limit_counts_what_keeps_them_busy() -> None:
    plan = SwarmPlan(
        urls=NODE, drivers=100, think_s=1.0, hold_s=9.0, decline_share=0.0, lapse_share=0.0
    )
    assert plan.drivers_limit(offer_timeout_s=30, cooldown_s=30) == pytest.approx(10)
    slow = SwarmPlan(urls=NODE, drivers=100, think_s=0, hold_s=0, decline_share=0, lapse_share=0.5)
    assert slow.drivers_limit(offer_timeout_s=5, cooldown_s=5) == pytest.approx(10)
