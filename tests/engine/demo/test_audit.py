"""The audit holds for a correct run and finds each kind of error."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from mallard_engine.demo.audit import Finding, audit, offers_to_dead_node
from mallard_engine.workload.fleet_tally import FleetTally
from mallard_protocol.resources import Asked, Explanation, Job
from tests.engine.demo.jobs import START, START_MS, a_job


def _delivered(job: str, driver: str = "d1") -> Job:
    return a_job(job, (0, "queued", "submitted"), (9, "delivered", "delivered"), driver=driver)


def _tally(**delivered_by: list[str]) -> FleetTally:
    tally = FleetTally()
    tally.delivered_by.update(delivered_by)
    tally.collected_by.update(delivered_by)
    return tally


def _broken(findings: Iterable[Finding]) -> set[str]:
    return {finding.claim.split(":")[0].split(" (")[0] for finding in findings if not finding.holds}


def test_audit_holds_for_a_correct_run() -> None:
    jobs = [_delivered("j1"), a_job("j2", (0, "cancelled", "cancelled"))]
    assert not _broken(audit(["j1", "j2"], jobs, _tally(j1=["d1"]), wanted_delivered=1))


@pytest.mark.parametrize(
    ("submitted", "jobs", "tally", "broken"),
    [
        (
            ["j1", "j2"],
            [_delivered("j1")],
            _tally(j1=["d1"]),
            {"nothing lost", "submitted = delivered + returned + cancelled + expired + failed"},
        ),
        (
            ["j1"],
            [_delivered("j1"), _delivered("j2")],
            _tally(j1=["d1"], j2=["d1"]),
            {"nothing doubled", "submitted = delivered + returned + cancelled + expired + failed"},
        ),
        (
            ["j1", "j2"],
            [_delivered("j1"), a_job("j2", (0, "queued", "submitted"))],
            _tally(j1=["d1"]),
            {"still open 0", "submitted = delivered + returned + cancelled + expired + failed"},
        ),
        (
            ["j1"],
            [_delivered("j1")],
            _tally(j1=["d1", "d2"]),
            {"one driver delivered each parcel", "one driver collected each parcel"},
        ),
        (
            ["j1"],
            [_delivered("j1", "d2")],
            _tally(j1=["d1"]),
            {"every delivery in a ledger is delivered in the engine"},
        ),
        (
            ["j1"],
            [_delivered("j1")],
            _tally(),
            {"every delivered job is in a driver's ledger"},
        ),
        (
            ["j1"],
            [a_job("j1", (0, "expired", "expired"))],
            _tally(),
            {"at least 1 delivered"},
        ),
    ],
)
def test_audit_finds_each_kind_of_error(
    submitted: list[str], jobs: list[Job], tally: FleetTally, broken: set[str]
) -> None:
    assert _broken(audit(submitted, jobs, tally, wanted_delivered=1)) == broken


@pytest.mark.parametrize(
    ("offered_s", "back_s", "holds"),
    [
        (1.9, 8, True),  # the engine may believe the node alive for a moment
        (2.1, 8, False),
        (2.1, 2.0, True),  # welcomed by another node before
    ],
)
def test_offers_to_drivers_of_a_dead_node(offered_s: float, back_s: float, *, holds: bool) -> None:
    job = a_job("j1", (offered_s, "offered", "offered"), (offered_s + 3, "queued", "x"))
    turn = Asked("d1", 1, "unacknowledged", START + timedelta(seconds=offered_s + 3))
    explanation = Explanation("j1", 1, None, 1000, capped=False, candidates=(), asked=(turn,))
    back_ms = {"d1": START_MS + int(back_s * 1000)}
    assert offers_to_dead_node(START_MS, back_ms, [(job, explanation)]).holds is holds
