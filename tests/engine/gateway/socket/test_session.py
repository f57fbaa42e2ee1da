"""The order of pushes in one session, decided without any I/O."""

from dataclasses import replace

import pytest

from mallard_engine.core.model import Device, Driver, HeldJob, LiveOffer, OfferedJob
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_engine.gateway.socket.session import Action, End, Load, Refresh, Session, Settle, Write
from mallard_engine.ports import DriverSnapshot, OwnDriver, Push, PushKind
from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState, Wish


def driver(seq: int = 0, jobs: tuple[HeldJob, ...] = (), offer: str | None = None) -> Driver:
    return Driver(
        id="d1",
        wish=Wish.AVAILABLE,
        until_ms=None,
        offer=offer,
        jobs=jobs,
        epoch=1,
        node="n",
        connected=True,
        lost_ms=0,
        seq=seq,
    )


def welcomed(seq: int = 0) -> Session:
    session = Session("phoenix", "d1")
    assert not list(session.registered(1))
    assert not list(session.welcomed(DriverSnapshot(0, driver(seq), None, ())))
    return session


def state(seq: int, why: str = "stale") -> Push:
    return Push("d1", seq, PushKind.STATE, state="available", why=why)


def direct(session: Session, push: Push) -> list[Action]:
    return list(session.push(push))


def test_push_is_sent_once_whichever_copy_comes_first() -> None:
    session = welcomed(seq=3)
    assert direct(session, state(3)) == []
    assert direct(session, state(4)) == [Write(state(4))]
    assert direct(session, state(4)) == []
    assert direct(session, state(5)) == [Write(state(5))]


def test_early_push_waits_for_those_before_it() -> None:
    session = welcomed(seq=3)
    assert direct(session, state(6)) == [Settle()]
    assert direct(session, state(5)) == []
    assert direct(session, state(4)) == [Write(state(4)), Write(state(5)), Write(state(6))]
    assert list(session.settled()) == []
    assert direct(session, state(7)) == [Write(state(7))]


@pytest.mark.finding("B3")
def test_gap_that_nothing_fills_causes_a_welcome() -> None:
    session = welcomed(seq=3)
    assert direct(session, state(5)) == [Settle()]
    assert list(session.settled()) == [Refresh()]
    assert direct(session, state(6)) == []
    snapshot = DriverSnapshot(0, driver(seq=5), None, ())
    assert list(session.welcomed(snapshot)) == [Write(state(6))]


def test_second_gap_is_waited_for_by_itself() -> None:
    session = welcomed(seq=3)
    assert direct(session, state(5)) == [Settle()]
    assert direct(session, state(4)) == [Write(state(4)), Write(state(5))]
    assert direct(session, state(7)) == []
    assert list(session.settled()) == [Settle()]
    assert list(session.settled()) == [Refresh()]


def test_early_push_waits_while_a_job_is_loaded() -> None:
    session = welcomed()
    assigned = Push("d1", 1, PushKind.JOB, job="j1", state="assigned", reason="assigned", mall="m1")
    assert direct(session, state(2)) == [Settle()]
    assert direct(session, assigned) == [Load(assigned)]
    assert direct(session, state(4)) == []
    assert list(session.settled()) == []
    assert list(session.loaded()) == [Write(state(2)), Settle()]
    assert list(session.settled()) == [Refresh()]


def test_many_early_pushes_close_the_socket() -> None:
    session = welcomed()
    endings = [direct(session, state(seq)) for seq in range(2, 300)]
    assert endings[0] == [Settle()]
    assert endings[-1] == [End(Close.TOO_SLOW)]


def test_session_knows_which_pushes_it_misses() -> None:
    session = welcomed(seq=3)
    assert session.has_all_until(3)
    assert not session.has_all_until(4)
    session.hold()
    direct(session, state(5))
    assert not session.has_all_until(5)
    direct(session, state(4))
    assert session.has_all_until(5)
    assert not session.has_all_until(6)


@pytest.mark.finding("B4")
def test_welcome_may_decrease_seq() -> None:
    session = welcomed(seq=9)
    session.hold()
    assert direct(session, state(4)) == []
    snapshot = DriverSnapshot(0, driver(seq=3), None, ())
    assert list(session.welcomed(snapshot)) == [Write(state(4))]
    assert direct(session, state(5)) == [Write(state(5))]


def test_waiting_pushes_are_sent_after_release() -> None:
    session = welcomed(seq=3)
    session.hold()
    assert direct(session, state(4)) == []
    assert list(session.release()) == [Write(state(4))]


def test_loaded_job_does_not_release_held_pushes() -> None:
    session = welcomed()
    assigned = Push("d1", 1, PushKind.JOB, job="j1", state="assigned", reason="assigned", mall="m1")
    direct(session, assigned)
    session.hold()
    direct(session, state(2))
    assert list(session.loaded()) == []
    assert list(session.release()) == [Write(state(2))]


def test_session_keeps_what_the_store_may_lose() -> None:
    session = welcomed()
    vehicle, claims = StatedVehicle(kind="van"), DriverClaims(alias="Ann")
    session.vehicle, session.claims = vehicle, claims
    device = Device("fcm", "wake-me")
    stored = replace(driver(), wish=Wish.PAUSED, until_ms=77, device=device)
    session.learn(stored)
    assert session.own == OwnDriver("d1", 1, Wish.PAUSED, 77, vehicle, device=device, claims=claims)
    direct(session, Push("d1", 1, PushKind.STATE, state="on_run", why="block_over"))
    assert (session.own.wish, session.own.until_ms) == (Wish.OFFLINE, None)


def test_pushes_covered_by_welcome_are_not_sent() -> None:
    session = Session("phoenix", "d1")
    assert direct(session, state(4)) == []
    assert direct(session, state(4)) == []
    assert direct(session, state(5)) == []
    assert list(session.registered(1)) == []
    snapshot = DriverSnapshot(0, driver(seq=4), None, ())
    assert list(session.welcomed(snapshot)) == [Write(state(5))]


def test_pushes_wait_while_a_job_is_loaded() -> None:
    session = welcomed()
    assigned = Push("d1", 1, PushKind.JOB, job="j1", state="assigned", reason="assigned", mall="m1")
    assert direct(session, assigned) == [Load(assigned)]
    assert direct(session, state(2)) == []
    assert list(session.loaded()) == [Write(state(2))]
    assert session.mall_of("j1") == "m1"


def test_too_many_waiting_pushes_end_the_session() -> None:
    session = Session("phoenix", "d1")
    endings = [direct(session, state(seq)) for seq in range(1, 300)]
    assert [End(Close.TOO_SLOW)] in endings


@pytest.mark.parametrize("early", [True, False])
def test_newer_socket_replaces_this_one(early: bool) -> None:
    session = Session("phoenix", "d1")
    replaced = Push("d1", 0, PushKind.REPLACED, epoch=7)
    if early:  # received before Redis has returned this socket's epoch
        assert direct(session, replaced) == []
        assert list(session.registered(6)) == [End(Close.REPLACED)]
    else:
        assert list(session.registered(6)) == []
        assert direct(session, replaced) == [End(Close.REPLACED)]


def test_socket_is_not_replaced_by_itself_or_an_older_one() -> None:
    session = Session("phoenix", "d1")
    assert list(session.registered(7)) == []
    for epoch in (6, 7):
        assert direct(session, Push("d1", 0, PushKind.REPLACED, epoch=epoch)) == []


def test_session_tracks_its_drivers_jobs() -> None:
    session = welcomed()
    assert session.shown is DriverState.AVAILABLE
    offer = LiveOffer(
        offer="o1",
        driver="d1",
        mall="m1",
        gate="g",
        attempt=1,
        jobs=(OfferedJob("j1", 1, b"", 0, 0),),
        eta_s=1,
        distance_m=1,
        eta_pickup_ms=1,
        eta_dropoff_ms=1,
        expires_ms=1,
        ack_by_ms=1,
    )
    direct(session, Push("d1", 1, PushKind.OFFER, offer=offer))
    assert (session.shown, session.mall_of("j1")) == (DriverState.OFFERED, "m1")
    session.learn(driver(jobs=(HeldJob("j1", 1, "m1"),)))
    assert (session.shown, session.mall) == (DriverState.ON_RUN, "m1")
    direct(
        session, Push("d1", 2, PushKind.JOB, job="j1", state="picked_up", reason="ready_changed")
    )
    assert list(session.loaded()) == []
    assert session.mall_of("j1") == "m1"
    direct(session, Push("d1", 3, PushKind.JOB, job="j1", state="queued", reason="unassigned"))
    assert (session.mall_of("j1"), session.mall) == (None, "")
    direct(session, Push("d1", 4, PushKind.STATE, state="paused", why="unreachable"))
    assert (session.unreachable, session.shown) == (True, DriverState.PAUSED)


def test_closed_offer_is_removed() -> None:
    session = welcomed()
    session._offered = {"j1": "m1"}
    direct(session, Push("d1", 1, PushKind.OFFER_CLOSED, offer_id="o1", why="expired"))
    assert session.shown is DriverState.AVAILABLE


@pytest.mark.finding("B3")
@pytest.mark.parametrize(
    "stored",
    [
        replace(driver(seq=3), wish=Wish.PAUSED),
        driver(seq=2),
        driver(seq=4),
        driver(seq=3, offer="o"),
        driver(seq=3, jobs=(HeldJob("j1", 1, "m1"),)),
        replace(driver(seq=3), until_ms=9),
        replace(driver(seq=3), unreachable=True),
    ],
)
def test_changed_or_busy_driver_does_not_agree_idle(stored: Driver) -> None:
    assert welcomed(seq=3).agrees_idle(driver(seq=3))
    assert not welcomed(seq=3).agrees_idle(stored)
    session = welcomed()
    assert not list(session.welcomed(DriverSnapshot(0, stored, None, ())))
    assert session.agrees_idle(stored) == (not stored.jobs and stored.offer is None)
