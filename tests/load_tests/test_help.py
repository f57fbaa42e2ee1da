"""`--help` of each program prints its usage: argparse fails on a stray % in a help text."""

import importlib

import pytest

PROGRAMS = (
    "load_tests.attacks.__main__",
    "load_tests.benchmarks.__main__",
    "load_tests.benchmarks.scaling.shards",
    "load_tests.events.streams",
    "load_tests.events.webhooks",
    "load_tests.faults.archive_outage",
    "load_tests.faults.control",
    "load_tests.faults.durability",
    "load_tests.faults.event_kills",
    "load_tests.faults.failover",
    "load_tests.faults.migration",
    "load_tests.faults.outage",
    "load_tests.swarm.__main__",
    "load_tests.swarm.capacity_search",
    "load_tests.users.with_engine",
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_prints_usage(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        importlib.import_module(program).main(["--help"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith("usage:")
