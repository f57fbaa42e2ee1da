"""The hub delivers pushes to the sessions of their drivers."""

from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.ports import OwnDriver, Push, PushKind, TakenBack
from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState


class Ear:
    """A session that records its pushes."""

    shown = DriverState.AVAILABLE
    epoch = 1

    def __init__(self, *, deaf: bool = False) -> None:
        self.heard: list[int] = []
        self.code: Close | None = None
        self.deaf = deaf

    def push(self, push: Push) -> None:
        if self.deaf:
            raise RuntimeError("deaf")
        self.heard.append(push.seq)

    owes_hello = False

    async def ask_hello(self) -> None:
        raise NotImplementedError

    def hold(self) -> OwnDriver | None:
        return None

    async def restore(self, taken: TakenBack, *, rewound: bool) -> None:
        raise NotImplementedError

    def end_if_revoked(self) -> None: ...

    def drain(self, reconnect_after_ms: int) -> None:
        self.heard.append(reconnect_after_ms)

    def end(self, code: Close) -> None:
        self.code = code


def push(driver: str, seq: int) -> Push:
    return Push(driver, seq, PushKind.STATE)


def test_push_reaches_the_driver_of_its_market() -> None:
    hub = Hub()
    here, there, other = Ear(), Ear(), Ear()
    hub.add("phoenix", "d1", here)
    hub.add("las-vegas", "d1", there)
    hub.add("phoenix", "d2", other)
    hub.deliver("phoenix", [push("d1", 1), push("nobody", 1)])
    hub.deliver("phoenix", [push("d1", 2)])
    hub.deliver("atlantis", [push("d1", 3)])
    assert here.heard == [1, 2]
    assert there.heard == other.heard == []
    assert sorted(hub.markets) == ["las-vegas", "phoenix"]


def test_two_sockets_of_a_driver_both_get_pushes() -> None:
    hub = Hub()
    old, new = Ear(), Ear()
    hub.add("phoenix", "d1", old)
    hub.add("phoenix", "d1", new)
    hub.deliver("phoenix", [push("d1", 1)])
    hub.remove("phoenix", "d1", old)
    hub.remove("phoenix", "d1", old)
    hub.deliver("phoenix", [push("d1", 2)])
    assert old.heard == [1]
    assert new.heard == [1, 2]
    hub.remove("phoenix", "d1", new)
    assert (len(hub), hub.markets) == (0, ())


def test_failing_session_does_not_stop_the_others() -> None:
    hub = Hub()
    deaf, well = Ear(deaf=True), Ear()
    hub.add("phoenix", "d1", deaf)
    hub.add("phoenix", "d2", well)
    hub.deliver("phoenix", [push("d1", 1), push("d2", 1)])
    assert deaf.code is Close.DRAINING
    assert well.heard == [1]


async def test_all_of_a_market_are_closed_in_batches() -> None:
    hub = Hub()
    here = [Ear() for _ in range(100)]
    for number, ear in enumerate(here):
        hub.add("phoenix", f"d{number}", ear)
    there = Ear()
    hub.add("las-vegas", "d1", there)
    await hub.end_all(Close.DRAINING, "phoenix")
    assert {ear.code for ear in here} == {Close.DRAINING}
    assert there.code is None
    await hub.end_all(Close.NO_STORE)
    assert there.code is Close.NO_STORE
