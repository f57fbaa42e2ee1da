"""Packed jobs in Redis: how jobs are packed, one field of them, and scripts that need all of them.

A script that finds a packed job writes nothing and names its key in an error `PACKED`. The job is
unpacked then, and the script run once more. See `storage/records/packed_jobs.py`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records.packed_jobs import PACKED, packed_record, picked, unpacked
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.scripts import Script
from mallard_protocol.codes import TERMINAL_KEPT_MS

_CODE: Final = "PACKED"
# A job that changes after its end is packed again after this long.
AGAIN_MS: Final = 600_000
# A script names one packed job at a time: those of a transfer, and as many that others pack again.
_MOST_UNPACKED: Final = 64


class Runner(Protocol):
    """What packing needs of a `ScriptRunner`."""

    async def run(
        self,
        name: str,
        keys: Sequence[str],
        args: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
    ) -> Any:
        """Run a script; see `ScriptRunner.run`."""


async def run_unpacked(
    script: Script,
    link: StoreLink,
    keys: Sequence[str | bytes],
    args: Sequence[str | bytes | int | float],
    unpacking: Script,
) -> Any:
    """Run a script, after ``unpacking`` the jobs of which it needs more than their state.

    Raises:
        StoreUnavailable: They were packed again each time; and what `Link.call` raises.
    """
    for _ in range(_MOST_UNPACKED):
        try:
            return await script.run(link, keys, args)
        except LinkReplyError as error:
            if error.code != _CODE:
                raise
            await unpack(link, str(error).split()[1], unpacking, now=str(args[0]))
    raise StoreUnavailable(f"{script.name} finds packed jobs each time")


async def unpack(link: StoreLink, key: str, unpacking: Script, *, now: str = "") -> None:
    """Write the fields of the packed job of this key again, if it is packed.

    ``unpacking``: the script; ``now``: a simulation's time, as the scripts get it.

    Raises:
        ValueError: It is packed in a form that this version does not know.
    """
    packed: bytes | None = await link.call("HGET", key, PACKED)
    if packed is None:
        return
    fields, last_round = unpacked(packed)
    prefix, _, job = key.rpartition(":job:")
    about = {"job": job, "kept_ms": TERMINAL_KEPT_MS, "again_ms": AGAIN_MS}
    args: list[str | bytes] = [now, pack(about), packed, last_round or b""]
    args += [part for field in fields.items() for part in field]
    names = [f"{prefix}:unpacked", key, f"{prefix}:round:{job}"]
    await unpacking.run(link, names, args)


async def read_field(link: StoreLink, key: str, name: str) -> str:
    """Return a field of a job, packed or not; empty: there is none."""
    value, packed = await link.call("HMGET", key, name, PACKED)
    return (picked([name], [value], packed)[0] or b"").decode()


async def read_to_pack(
    link: StoreLink, keys: MarketKeys, job: str
) -> tuple[dict[bytes, bytes], bytes | None]:
    """Return the stored fields of a job, and its last round."""
    flat, last_round = await asyncio.gather(
        link.call("HGETALL", keys.job(job)), link.call("GET", keys.round(job))
    )
    return dict(zip(flat[::2], flat[1::2], strict=True)), last_round


async def pack_as_read(
    runner: Runner,
    keys: MarketKeys,
    job: str,
    fields: Mapping[bytes, bytes],
    last_round: bytes | None,
) -> int:
    """Pack a job that has not changed since `read_to_pack`.

    Returns:
        The bytes of its record; 0: it has changed, has not ended, or is packed.
    """
    packed = packed_record(fields, last_round)
    blobs = [packed, last_round or b"", *(part for field in fields.items() for part in field)]
    names = [keys.key("unpacked"), keys.job(job), keys.round(job)]
    verdict = await runner.run("pack", names, {"job": job, "again_ms": AGAIN_MS}, blobs)
    return len(packed) if verdict == b"packed" else 0
