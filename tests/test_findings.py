"""Each fault that was found in the running product has a test that keeps it mended."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
# The rows of the list of findings; the list itself is not part of the repository.
SECTIONS = {"A": 15, "B": 14, "C": 19, "D": 19}
ROWS = {f"{letter}{n}" for letter, last in SECTIONS.items() for n in range(1, last + 1)}
ROWS |= {"A7b", "E", "F"}


def rows_of_markers(path: Path) -> Iterator[str]:
    """The rows that `pytest.mark.finding(…)` names in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="finding"), args=arguments):
                for argument in arguments:
                    if isinstance(argument, ast.Constant):
                        yield str(argument.value)


def rows_of_scenarios(path: Path) -> Iterator[str]:
    """The rows of a file of client scenarios; `test_scenarios.py` marks each test with them."""
    scenarios: list[dict[str, Any]] = json.loads(path.read_text())
    for scenario in scenarios:
        yield from scenario["findings"]


def marked() -> set[str]:
    modules = TESTS.rglob("test_*.py")
    scenarios = (TESTS / "clients" / "scenarios").glob("*.json")
    return {row for path in modules for row in rows_of_markers(path)} | {
        row for path in scenarios for row in rows_of_scenarios(path)
    }


def test_each_finding_has_a_test_and_no_marker_is_unknown() -> None:
    assert marked() == ROWS
