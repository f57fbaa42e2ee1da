"""Packed jobs in Redis: one field of them, and scripts that need all of them.

A script that finds a packed job writes nothing and names its key in an error `PACKED`. The job is
unpacked then, and the script run once more. See `storage/records/packed_jobs.py`.
"""

from collections.abc import Sequence
from typing import Any, Final

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.records.packed_jobs import PACKED, picked, unpacked
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.scripts import Script, all_scripts
from mallard_protocol.codes import TERMINAL_KEPT_MS

_CODE: Final = "PACKED"
# A script names one packed job at a time: those of a transfer, and as many that others pack again.
_MOST_UNPACKED: Final = 64


async def run_unpacked(
    script: Script,
    link: StoreLink,
    keys: Sequence[str | bytes],
    args: Sequence[str | bytes | int | float],
) -> Any:
    """Run a script, after unpacking the jobs of which it needs more than their state.

    Raises:
        StoreUnavailable: They were packed again each time; and what `Link.call` raises.
    """
    for _ in range(_MOST_UNPACKED):
        try:
            return await script.run(link, keys, args)
        except LinkReplyError as error:
            if error.code != _CODE:
                raise
            await unpack(link, str(error).split()[1])
    raise StoreUnavailable(f"{script.name} finds packed jobs each time")


async def unpack(link: StoreLink, key: str) -> None:
    """Write the fields of the packed job of this key again, if it is packed.

    Raises:
        ValueError: It is packed in a form that this version does not know.
    """
    packed: bytes | None = await link.call("HGET", key, PACKED)
    if packed is None:
        return
    fields, last_round = unpacked(packed)
    prefix, _, job = key.rpartition(":job:")
    args: list[str | bytes] = ["", pack({"kept_ms": TERMINAL_KEPT_MS}), packed, last_round or b""]
    args += [part for field in fields.items() for part in field]
    await all_scripts()["unpack"].run(link, [key, f"{prefix}:round:{job}"], args)


async def read_field(link: StoreLink, key: str, name: str) -> str:
    """Return a field of a job, packed or not; empty: there is none."""
    value, packed = await link.call("HMGET", key, name, PACKED)
    return (picked([name], [value], packed)[0] or b"").decode()
