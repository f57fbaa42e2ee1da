"""Reads the open transfer of a job on board, and who comes for it."""

from mallard_engine.core.model import Job
from mallard_engine.ports import NoSuchDriver, NoSuchJob, Storage
from mallard_protocol.lifecycle import ON_BOARD


async def open_transfer(store: Storage, job: Job) -> Job | None:
    """Return the open transfer that carries a job; None if there is none.

    Reads nothing for a job that was never transferred.
    """
    if not job.transfer_job or job.state not in ON_BOARD:
        return None
    try:
        transfer = await store.jobs.get(job.transfer_job)
    except NoSuchJob:
        return None  # the transfer has ended and been deleted
    return None if transfer.terminal else transfer


async def alias_of_coming(store: Storage, transfer: Job | None) -> str | None:
    """Return the alias of the driver who comes for a transfer; None if it has none.

    Reads nothing while no driver comes.
    """
    if transfer is None or not transfer.driver:
        return None
    try:
        return (await store.register.read(transfer.market, transfer.driver)).alias
    except NoSuchDriver:
        return None
