"""Redis is killed twice under the sockets of two nodes; see load_tests/faults/outage.py."""

import pytest

from load_tests.faults.outage import main


@pytest.mark.slow
@pytest.mark.finding("B3")
def test_no_socket_closes_and_offers_continue(capsys: pytest.CaptureFixture[str]) -> None:
    # How soon an offer comes is measured on a machine that does nothing else.
    status = main(
        ["--drivers", "60", "--kills", "2", "--away", "2", "--between", "1", "--within", "20"]
    )
    assert status == 0, capsys.readouterr().out
