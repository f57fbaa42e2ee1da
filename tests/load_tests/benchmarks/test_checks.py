import pytest

from load_tests.benchmarks.checks import LIMITS, Check, Limit, match_checks
from load_tests.benchmarks.pages.ratios import spread
from load_tests.benchmarks.quick import checks_table, main

LIMIT = Limit("calls", 2)


def test_figure_holds_up_to_its_limit() -> None:
    assert Check(LIMIT, 2.0, spread([2.0])).holds
    assert not Check(LIMIT, 2.1, spread([2.0])).holds


def test_table_names_exceeded_limits() -> None:
    text = checks_table([Check(LIMIT, 3.0, spread([2.0, 3.0]))])
    assert "calls" in text
    assert "OVER THE LIMIT" in text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_planted_call_breaks_the_guard(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], ours="tests.load_tests.benchmarks.planted", parts=[match_checks]) == 1
    printed = capsys.readouterr().out
    over = [line for line in printed.splitlines() if "OVER THE LIMIT" in line]
    assert any(LIMITS["match_scripts"].name in line for line in over), printed
