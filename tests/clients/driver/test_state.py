"""What a driver app believes, message by message."""

from typing import Any

import msgspec
from msgspec import UNSET

from mallard_client.driver.state import DriverView
from mallard_protocol.messages import JobChanged, Offer, OfferClosed, Reply, SocketJob, Welcome
from tests.clients.counterpart import a_job, an_offer

JOB = "job_phoenix.1"


def test_unassigned_job_is_no_longer_held() -> None:
    for reason in ("collected", "unassigned", "silent", "transferred"):
        view = _view(a_job())
        view.apply_push(JobChanged(1, JOB, 2, "picked_up", reason))
        assert view.jobs == {}
        assert JOB in view.former


def test_pickup_of_a_transfer_brings_its_jobs() -> None:
    view = _view(a_job("t1") | {"kind": "transfer"})
    got = msgspec.convert(a_job(JOB, attempt=2) | {"state": "picked_up"}, SocketJob)
    view.apply_reported("t1", Reply(1, "on_run", (got,), "t1", "delivered", 1))
    assert {job: held.attempt for job, held in view.jobs.items()} == {JOB: 2}


def test_cancelled_job_is_no_longer_held() -> None:
    view = _view(a_job())
    view.apply_push(JobChanged(1, JOB, 1, "cancelled", "cancelled"))
    assert view.jobs == {}


def test_operators_job_is_held_with_its_details() -> None:
    view = _view()
    detail = msgspec.convert(a_job(attempt=2), SocketJob)
    view.apply_push(JobChanged(1, JOB, 2, "assigned", "assigned", detail))
    assert view.jobs[JOB].detail == detail


def test_arrival_by_geofence_changes_the_state() -> None:
    view = _view(a_job())
    view.apply_push(JobChanged(1, JOB, 1, "at_mall"))
    assert view.jobs[JOB].state == "at_mall"


def test_one_more_job_is_offered_on_the_way() -> None:
    view = _view(a_job())
    view.state = "on_run"
    view.apply_push(msgspec.convert({"type": "offer", **an_offer(seq=1)}, Offer))
    assert (view.state, view.offer is None) == ("on_run", False)
    view.apply_push(OfferClosed(2, "o1", "expired"))
    assert (view.state, view.offer, list(view.jobs)) == ("on_run", None, [JOB])


def test_job_missing_in_the_welcome_is_remembered_but_not_held() -> None:
    view = _view(a_job())
    view.apply_welcome(_welcome())
    assert view.jobs == {}
    assert view.former[JOB].attempt == 1


def test_number_of_remembered_steps_is_bounded() -> None:
    view = DriverView()
    for number in range(200):
        view.apply_welcome(_welcome(a_job(f"job_phoenix.{number}")))
    view.apply_welcome(_welcome())
    assert len(view.former) == 50
    assert "job_phoenix.199" in view.former


def test_reply_with_another_state_ends_the_holding() -> None:
    view = _view(a_job())
    view.apply_reported(JOB, Reply(1, "available", UNSET, JOB, "queued", 1))
    assert view.jobs == {}


def test_hello_holds_what_the_engine_last_acknowledged() -> None:
    (held,) = _view(a_job(state="at_mall", attempt=4)).holds()
    assert (held.job, held.attempt, held.state) == (JOB, 4, "at_mall")


def _view(*jobs: dict[str, Any]) -> DriverView:
    view = DriverView()
    view.apply_welcome(_welcome(*jobs))
    return view


def _welcome(*jobs: dict[str, Any]) -> Welcome:
    details = msgspec.convert(list(jobs), tuple[SocketJob, ...])
    state = "on_run" if jobs else "available"
    return Welcome("s", "d", "phoenix", 0, 0, 25_000, 4_000, 16_384, 0, state, None, details)
