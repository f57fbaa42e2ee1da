"""The page on the operation names what the code has: states, problems, rules, alerts, events."""

import re
from pathlib import Path
from typing import get_args

import pytest

from mallard_engine.workload.bad_day.events import UNDELIVERABLE
from mallard_protocol.codes import AnswerAction, OnMissing, OnShort, OnUndeliverable, ServiceLevel
from mallard_protocol.lifecycle import TERMINAL, Step
from mallard_protocol.messages import ProblemKind

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/topics/operation.md").read_text()
SCRIPTS = ROOT / "engine/mallard_engine/storage/lua"
_ALERT = re.compile(r"alert\('([a-z_]+)'")
_CLAIM_ALERTS = {"two_claim_a_parcel", "parcel_of_ended_job"}


def alerts() -> set[str]:
    found = {name for path in SCRIPTS.rglob("*.lua") for name in _ALERT.findall(path.read_text())}
    custody = (SCRIPTS / "lib/custody.lua").read_text()
    assert all(f"'{name}'" in custody for name in _CLAIM_ALERTS)
    return found | _CLAIM_ALERTS | {"unsafe", "accident"}


@pytest.mark.parametrize(
    "names",
    [
        sorted(TERMINAL),
        sorted(get_args(ProblemKind)),
        sorted(AnswerAction),
        sorted({*OnShort, *OnMissing, *OnUndeliverable}),
        sorted(ServiceLevel),
        sorted({Step.COLLECTED, Step.AT_DOOR, Step.DELIVERED}),
        sorted(UNDELIVERABLE),
        sorted(alerts()),
    ],
    ids=lambda names: names[0],
)
def test_every_name_of_the_code_is_on_the_page(names: list[str]) -> None:
    assert [name for name in names if f"`{name}`" not in PAGE] == []
