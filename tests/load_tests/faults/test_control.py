"""Operators' calls on four nodes under load; see load_tests/faults/control.py."""

import pytest

from load_tests.faults.control import main


@pytest.mark.slow
def test_calls_are_in_force_on_four_nodes_under_load(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--drivers", "20", "--rate", "6"])
    assert status == 0, capsys.readouterr().out
