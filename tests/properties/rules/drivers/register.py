"""Rules: operators change the register of drivers."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mallard_engine.core.vehicles import USUAL_ROOM, DriverProfile, StatedVehicle
from tests.properties.machine import How, how_often, some_driver
from tests.properties.models.drivers import Room
from tests.properties.rules.operation.transfer import TransferRules
from tests.properties.world import MARKET

_PROFILES: dict[str, tuple[DriverProfile | None, Room | None]] = {
    "erased": (None, None),
    "named": (DriverProfile(alias="Ann"), None),
    "one job": (
        DriverProfile(vehicle=StatedVehicle(max_jobs=1)),
        (1, USUAL_ROOM["car"].max_weight_g),
    ),
    "light": (
        DriverProfile(vehicle=StatedVehicle(max_jobs=2, max_weight_g=150)),
        (2, 150),
    ),
    "van": (DriverProfile(vehicle=StatedVehicle(kind="van")), USUAL_ROOM["van"][:2]),
}


class RegisterRules(TransferRules):
    """Rules for registered vehicles and the status of the register."""

    @rule(
        driver=some_driver,
        entry=st.sampled_from(sorted(_PROFILES)),
        suspended=st.sampled_from((False, False, False, True)),
        how=how_often,
    )
    def register(
        self,
        driver: str,
        entry: str,
        *,
        suspended: bool = False,
        how: How = "once",
    ) -> None:
        """Replace the entry of a driver; a live offer of a suspended one is withdrawn."""
        profile, room = _PROFILES[entry]
        if room and not self._has_room(driver, room):
            return
        expected = self.model.register(driver, room, erased=profile is None, suspended=suspended)
        self.call(
            f"register {driver}: {entry}, suspended: {suspended}",
            expected,
            lambda store: store.register.put(
                MARKET, driver, profile, suspended=suspended, actor="boss"
            ),
            how=how,
            again=expected,
            read=lambda _: "ok",
        )
        known = self.model.drivers.get(driver)
        if suspended and known and known.offer:
            self.withdraw(known.offer)

    def _has_room(self, driver: str, room: Room) -> bool:
        """Whether what the driver holds fits: the invariant S2 knows no vehicle that has shrunk."""
        known = self.model.drivers.get(driver)
        held = [self.model.jobs[job] for job in known.jobs] if known else []
        weight = sum(job.weight for job in held)
        return sum(job.parts for job in held) <= room[0] and weight <= room[1]
