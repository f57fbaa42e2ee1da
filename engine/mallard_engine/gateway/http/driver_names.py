"""The names by which a reader sees drivers: ids for operators, aliases for order services."""

import asyncio
import base64
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from mallard_engine.core.model import Job, TimelineEntry
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.ports import Storage
from mallard_protocol.codes import Role

# Causes of changes that services and operators make; their actor is never a driver.
_BY_PEOPLE = frozenset(
    {"submitted", "cancelled", "operator_assigned", "closed", "unassigned", "retried"}
)
# Actors of changes that no person is named for.
_NOT_DRIVERS = frozenset({"engine", "operator"})
_NAME_BYTES = 10


class DriverNames:
    """Names the drivers of some jobs for one reader.

    An order service must not learn an id from any field of a job. An actor that is neither the
    engine nor the service is named unless it made a change that no driver makes.
    """

    def __init__(self, aliases: Mapping[tuple[str, str], str] | None) -> None:
        self._aliases = aliases

    def driver(self, job: Job) -> str | None:
        """Return the name of the job's driver."""
        return job.driver and self._name(job, job.driver)

    def actor(self, job: Job, entry: TimelineEntry) -> str:
        """Return the name of who made a change."""
        return self._name(job, entry.actor) if _is_by_driver(job, entry) else entry.actor

    def of(self, market: str, driver: str) -> str:
        """Return the name of a driver."""
        return driver if self._aliases is None else self._aliases[market, driver]

    def _name(self, job: Job, driver: str) -> str:
        return self.of(job.market, driver)


IDS = DriverNames(None)
"""For operators."""


async def names_for(principal: Principal, store: Storage, *jobs: Job) -> DriverNames:
    """Return the names of all drivers of these jobs. No I/O if none has a driver."""
    if principal.role is Role.OPERATOR:
        return IDS
    drivers: defaultdict[str, set[str]] = defaultdict(set)
    for job in jobs:
        drivers[job.market].update(drivers_of(job))
    return await aliases_for(principal.sub, store, drivers)


async def aliases_for(
    service: str, store: Storage, drivers: Mapping[str, Collection[str]]
) -> DriverNames:
    """Return the names by which a service knows drivers, given by market. No I/O without any."""
    markets = [market for market, named in drivers.items() if named]
    found = await asyncio.gather(
        *(
            store.register.aliases(market, service, {it: random_name() for it in drivers[market]})
            for market in markets
        )
    )
    return DriverNames(
        {
            (market, driver): alias
            for market, names in zip(markets, found, strict=True)
            for driver, alias in names.items()
        }
    )


def drivers_of(job: Job, *changes: TimelineEntry) -> Iterable[str]:
    """Yield the drivers whom a job names, and who made these changes of it besides its own."""
    if job.driver:
        yield job.driver
    for entry in (*job.timeline, *changes):
        if _is_by_driver(job, entry):
            yield entry.actor


def _is_by_driver(job: Job, entry: TimelineEntry) -> bool:
    # A shop's name has a slash, which no id has.
    if entry.actor in _NOT_DRIVERS or entry.cause in _BY_PEOPLE or "/" in entry.actor:
        return False
    return entry.actor != job.service or any(it.driver == entry.actor for it in job.asked)


def random_name() -> str:
    """Return a name that nothing can be derived from, with 80 random bits."""
    return "driver-" + base64.b32encode(secrets.token_bytes(_NAME_BYTES)).decode().lower()
