"""The archive is killed and its database stopped; see load_tests/faults/archive_outage.py."""

import pytest

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.postgres import programs
from load_tests.faults.archive_outage import main


@pytest.mark.slow
def test_every_ended_job_is_archived_once_through_outages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        programs()
    except CannotMeasure as why:
        pytest.skip(str(why))
    flags = ("--away", "12", "--around", "4", "--kills", "2", "--rate", "2", "--drivers", "10")
    assert main(flags) == 0, capsys.readouterr().out
