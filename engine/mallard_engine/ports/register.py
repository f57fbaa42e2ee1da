"""The port of the register of drivers."""

from collections.abc import Mapping
from typing import Protocol

from mallard_engine.core.vehicles import DriverProfile, RegisteredDriver
from mallard_engine.ports.effects import Effects


class Register(Protocol):
    """The operators' register of drivers, and the names by which order services see drivers."""

    async def put(
        self,
        market: str,
        driver: str,
        profile: DriverProfile | None,
        *,
        suspended: bool,
        actor: str,
    ) -> tuple[RegisteredDriver, Effects]:
        """Replace a driver's entry; None erases it. A live offer must be withdrawn separately.

        The entry outlives the driver's record. The driver's vehicle follows at once, also while it
        is connected.
        """

    async def read(self, market: str, driver: str) -> RegisteredDriver:
        """Return one driver, also one that is registered and has never said hello.

        Raises:
            NoSuchDriver: The market knows no such driver.
        """

    async def aliases(
        self, market: str, service: str, names: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the names by which a service sees drivers, by their ids.

        Args:
            market: The drivers' market.
            service: The order service.
            names: A random name for each driver. It is stored and kept if neither the register nor
                the driver's token gives an alias and the service has not seen the driver yet.
        """
