"""Rules of the state machine: drivers and their sockets."""

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mallard_engine.ports import DriverFix
from mallard_protocol.lifecycle import Wish
from tests.properties.machine import (
    VEHICLES,
    How,
    StoreMachine,
    how_often,
    some_driver,
    some_node,
)
from tests.properties.models.drivers import Place
from tests.properties.world import HOME, MARKET

NEAR, FAR, FARTHER = HOME, (34.9, -110.2), (30.1, -108.0)
FixKind = Literal["good", "same", "stale", "future", "far", "farther", "outside"]
fix_kind = st.sampled_from(("good", "good", "same", "stale", "future", "far", "farther", "outside"))


class DriverRules(StoreMachine):
    """Rules for sockets, wishes and positions."""

    def fix(self, driver: str, kind: FixKind) -> DriverFix:
        """A fix of that kind. Redis must return the model's verdict on it."""
        known = self.model.drivers.get(driver)
        last = known.fix.at if known and known.fix else self.now
        place: Place = {"far": FAR, "farther": FARTHER}.get(kind, NEAR)
        at = {
            "same": last,
            "stale": last - 1,
            "future": self.now + 5_001,
        }.get(kind, self.now)
        return DriverFix(driver, at, *place, fault="outside" if kind == "outside" else "")

    def judge(self, fix: DriverFix) -> str:
        return self.model.position(fix.driver, fix.at_ms, (fix.lat, fix.lon), inside=not fix.fault)

    @rule(
        verb=st.sampled_from(("hello", "comes to work", "disconnect", "disconnect")),
        driver=some_driver,
        node=some_node,
        kind=st.none() | fix_kind,
        late=st.sampled_from((0, 0, 1, 2)),
        elsewhere=st.sampled_from((False, False, True)),
        how=how_often,
    )
    def a_socket(
        self,
        verb: str,
        driver: str,
        node: str,
        kind: FixKind | None,
        late: int,
        elsewhere: bool,
        how: How,
    ) -> None:
        if verb == "hello":
            self.hello(driver, node, kind)
        elif verb == "comes to work":
            self.comes_to_work(driver, node)
        else:
            self.disconnect(driver, late, node if elsewhere else None, how)

    def hello(self, driver: str, node: str = "n1", kind: FixKind | None = None) -> None:
        fix = self.fix(driver, kind) if kind else None
        vehicle = VEHICLES[driver]
        self.model.hello(driver, node, vehicle.max_jobs, vehicle.max_weight_g)
        if fix:
            self.judge(fix)
        # Called once: a second hello would be a new socket.
        said = self.call(
            f"hello {driver} ({kind})",
            "ok",
            lambda store: store.drivers.hello(MARKET, driver, node=node, vehicle=vehicle, fix=fix),
            node=node,
        )
        assert said is not None
        assert said.epoch == self.model.drivers[driver].epoch
        self.sockets[driver] = node, said.epoch

    def comes_to_work(self, driver: str, node: str) -> None:
        self.hello(driver, node, "good")
        self.status(driver, Wish.AVAILABLE)

    def disconnect(
        self, driver: str, late: int = 0, node: str | None = None, how: How = "once"
    ) -> None:
        """Close the current socket, or one that is ``late`` sockets old."""
        known = self.model.drivers.get(driver)
        epoch = known.epoch - late if known else 1
        at = node or (known.node if known else "n1")
        if epoch < 1:  # the reaper uses epoch 0
            return
        self.model.disconnect(driver, at, epoch)
        if self.sockets.get(driver) == (at, epoch):
            del self.sockets[driver]
        self.call(
            f"disconnect {driver}, epoch {epoch}",
            "ok",
            lambda store: store.drivers.disconnect(MARKET, at, [(driver, epoch)]),
            node=at,
            how=how,
        )

    @rule(
        driver=some_driver,
        wish=st.none() | st.sampled_from(Wish),
        until=st.none() | st.sampled_from((-1, 0, 1, 1_000, 30_000, 600_000)),
        how=how_often,
    )
    def says(self, driver: str, wish: Wish | None, until: int | None, how: How) -> None:
        """A `status` frame, or any other frame."""
        if wish:
            self.status(driver, wish, until, how)
        else:
            self.model.seen(driver)
            self.call(
                f"seen {driver}", "ok", lambda store: store.drivers.seen(MARKET, driver), how=how
            )

    def status(self, driver: str, wish: Wish, until: int | None = None, how: How = "once") -> None:
        until_ms = None if until is None else self.now + until
        expected = self.model.status(driver, wish, until_ms)
        self.call(
            f"status {driver} {wish} until {until}",
            expected,
            lambda store: store.drivers.status(MARKET, driver, wish, until_ms),
            how=how,
            again=expected,
        )

    @rule(fixes=st.lists(st.tuples(some_driver, fix_kind), min_size=1, max_size=4), how=how_often)
    def positions(self, fixes: list[tuple[str, FixKind]], how: How) -> None:
        self._record([self.fix(driver, kind) for driver, kind in fixes], how)

    def report_all(self) -> None:
        drivers = [name for name, driver in self.model.drivers.items() if driver.connected]
        self._record([self.fix(driver, "good") for driver in drivers], "once")

    def _record(self, batch: list[DriverFix], how: How) -> None:
        if not batch:
            return
        expected = " ".join(self.judge(fix) for fix in batch)
        self.call(
            f"positions of {[fix.driver for fix in batch]}",
            expected,
            lambda store: store.drivers.record_positions(MARKET, batch),
            how=how,
            read=lambda recorded: " ".join(recorded.verdicts),
            # A repeated fix is counted as old and changes no position.
            same=lambda seen: {name: d.position for name, d in seen.drivers.items()},
        )
