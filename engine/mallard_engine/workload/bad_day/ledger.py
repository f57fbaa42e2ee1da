"""Where the parcels are, by the word of the people who moved them.

Shops, drivers and customers of a simulation write this ledger; the engine never does. At the end it
is compared with what the engine says of each job.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mallard_engine.workload.bad_day.events import UNDELIVERABLE, BadEvent
from mallard_protocol.lifecycle import JobState


class Whereabouts(StrEnum):
    """Where the parcels of an order are."""

    SHOP = "at the shop"
    DRIVER = "with a driver"
    CUSTOMER = "with the customer"
    BACK = "brought back"


# Where the parcels of a job in this state must be. `lost` is nowhere.
_EXPECTED: Final = {
    JobState.PICKED_UP: Whereabouts.DRIVER,
    JobState.RETURNING: Whereabouts.DRIVER,
    JobState.DELIVERED: Whereabouts.CUSTOMER,
    JobState.RETURNED: Whereabouts.BACK,
}


@dataclass(slots=True)
class Parcels:
    """The parcels of one order.

    `handled`: every driver that had them, in order; `soonest_ms`: when they could be delivered at
    the earliest if a driver waited at the counter for them; 0: not known.
    """

    event: BadEvent | None
    best_by_ms: int
    soonest_ms: int = 0
    where: Whereabouts = Whereabouts.SHOP
    handled: list[str] = field(default_factory=list)
    delivered_ms: int = 0
    # No driver should be sent for them: a driver or the shop has reported that they are not there.
    is_known_absent: bool = False


@dataclass(frozen=True, slots=True)
class JobEnd:
    """What the engine says of a job when the day is over."""

    state: str
    driver: str | None
    reason: str | None


class Ledger:
    """The parcels of a day, by job.

    Attributes:
        wrongs: Parcels that came from where they were not.
        in_vain: Drivers who were sent for parcels that are known to be absent.
        happened: How often each event took place.
    """

    def __init__(self) -> None:
        self.parcels: dict[str, Parcels] = {}
        self.wrongs: list[str] = []
        self.in_vain: list[str] = []
        self.happened: Counter[BadEvent] = Counter()

    def ordered(
        self, job: str, event: BadEvent | None, best_by_ms: int, soonest_ms: int = 0
    ) -> None:
        """Note a new order."""
        self.parcels.setdefault(job, Parcels(event, best_by_ms, soonest_ms))

    def sent(self, job: str, driver: str) -> None:
        """Note that a driver is sent for the parcels."""
        parcels = self.parcels[job]
        if parcels.is_known_absent:
            self.in_vain.append(f"{driver} for {job}")

    def absent(self, job: str) -> None:
        """Note that the absence of the parcels was reported to the engine."""
        self.parcels[job].is_known_absent = True

    def found(self, job: str) -> None:
        """Note that a report that the parcels are there is about to be sent."""
        self.parcels[job].is_known_absent = False

    def collected(self, job: str, driver: str) -> None:
        """Note that a shop gives the parcels to a driver."""
        self._move(job, Whereabouts.SHOP, Whereabouts.DRIVER, driver)

    def handed_over(self, job: str, first: str, second: str) -> None:
        """Note that a driver gives the parcels to another one."""
        self._must_have(job, first)
        self._move(job, Whereabouts.DRIVER, Whereabouts.DRIVER, second)

    def delivered(self, job: str, driver: str, at_ms: int) -> None:
        """Note that the customer has the parcels."""
        self._must_have(job, driver)
        self._move(job, Whereabouts.DRIVER, Whereabouts.CUSTOMER)
        self.parcels[job].delivered_ms = at_ms

    def brought_back(self, job: str, driver: str) -> None:
        """Note that a shop or a station has the parcels back."""
        self._must_have(job, driver)
        self._move(job, Whereabouts.DRIVER, Whereabouts.BACK)

    def _must_have(self, job: str, driver: str) -> None:
        parcels = self.parcels[job]
        if parcels.handled[-1:] != [driver]:
            self.wrongs.append(f"{job}: {driver} hands over what {parcels.handled[-1:]} has")

    def _move(
        self, job: str, source: Whereabouts, target: Whereabouts, driver: str | None = None
    ) -> None:
        parcels = self.parcels[job]
        if parcels.where is not source:
            self.wrongs.append(f"{job}: expected {source}, is {parcels.where}")
        parcels.where = target
        if driver is not None:
            parcels.handled.append(driver)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The ledger compared with the engine.

    Attributes:
        rows: The number of orders by where their parcels are, the engine's state, its reason and
            the order's event.
        happened: How often each event took place.
        wrongs: Parcels that came from where they were not, or of which the engine says something
            else than the people.
        in_vain: Drivers who were sent for parcels that are known to be absent.
        deliverable: The orders of which no event says that they need not be delivered.
        on_time: Those of them that were delivered by the wanted time.
        impossible: Those of the others that no driver could have delivered by then, not even one
            who waited at the counter for the parcels and drove straight to the door.
    """

    rows: Mapping[tuple[str, str, str, str], int]
    happened: Mapping[BadEvent, int]
    wrongs: tuple[str, ...]
    in_vain: tuple[str, ...]
    deliverable: int
    on_time: int
    impossible: int = 0

    @property
    def on_time_percent(self) -> float:
        """The share of deliverable orders on time; 100 without any."""
        return _percent(self.on_time, self.deliverable)

    @property
    def possible_on_time_percent(self) -> float:
        """The share on time of the orders that a driver could have delivered in time."""
        return _percent(self.on_time, self.deliverable - self.impossible)


def _percent(some: int, of: int) -> float:
    return 100 * some / of if of else 100.0


def settle(ledger: Ledger, ends: Mapping[str, JobEnd]) -> Accounts:
    """Compare the ledger with what the engine says of each job."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    wrongs = list(ledger.wrongs)
    deliverable = on_time = impossible = 0
    for job, parcels in ledger.parcels.items():
        end = ends.get(job)
        if end is None:
            wrongs.append(f"{job} is unknown to the engine")
            continue
        wrongs += _differences(job, parcels, end)
        event = parcels.event.value if parcels.event else ""
        rows[parcels.where.value, end.state, end.reason or "", event] += 1
        if parcels.event not in UNDELIVERABLE:
            deliverable += 1
            if 0 < parcels.delivered_ms <= parcels.best_by_ms:
                on_time += 1
            else:
                impossible += parcels.soonest_ms > parcels.best_by_ms
    wrongs += [f"{job} was never ordered" for job in ends.keys() - ledger.parcels.keys()]
    return Accounts(
        dict(rows),
        dict(ledger.happened),
        tuple(wrongs),
        tuple(ledger.in_vain),
        deliverable,
        on_time,
        impossible,
    )


def _differences(job: str, parcels: Parcels, end: JobEnd) -> list[str]:
    if end.state == JobState.LOST:
        return [f"{job} is lost"]
    expected = _EXPECTED.get(JobState(end.state), Whereabouts.SHOP)
    if parcels.where is not expected:
        return [f"{job} is {end.state} in the engine, and {parcels.where}"]
    has = parcels.handled[-1] if parcels.handled else None
    if expected is not Whereabouts.SHOP and end.driver not in {None, has}:
        return [f"{job} is {end.state} by {end.driver} in the engine, and {has} had it last"]
    return []


def added(days: Sequence[Accounts]) -> Accounts:
    """Return the accounts of several days as one."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    happened: Counter[BadEvent] = Counter()
    for day in days:
        rows.update(day.rows)
        happened.update(day.happened)
    return Accounts(
        dict(rows),
        dict(happened),
        tuple(wrong for day in days for wrong in day.wrongs),
        tuple(each for day in days for each in day.in_vain),
        sum(day.deliverable for day in days),
        sum(day.on_time for day in days),
        sum(day.impossible for day in days),
    )
