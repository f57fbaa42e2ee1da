"""A job that has ended, compressed into one field of its hash.

`packed` is a byte that names the form, then deflated MessagePack: names and values of the job's
fields, and of its last round (for explain). The hash keeps the fields by which lists are filtered
(`BESIDE`), and those written since it was packed: they replace what it has of the same name.
Scripts cannot read it: see `storage/lua/lib/packed.lua`.

Deflate has a preset dictionary (`storage/records/example_job.py`), without which a record would be
nearly twice as large.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mallard_engine.storage.records.example_job import EXAMPLE, LAST_ROUND
from mallard_engine.storage.records.packing import pack

PACKED: Final = b"packed"
BESIDE: Final = frozenset({b"state", b"created_ms", b"updated_ms"})
_FORM: Final = b"\x01"
_LEVEL: Final = 6


def _listed(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    return pack([part for field in fields for part in field])


DICTIONARY: Final = _listed(EXAMPLE)
_parts = msgspec.msgpack.Decoder(list[bytes]).decode


def packed_record(fields: Mapping[bytes, bytes], last_round: bytes | None) -> bytes:
    """Return `packed` of a job with these fields, and its last round if there was one."""
    # In order, so that a job that was unpacked and packed again is the same record.
    inside = [(name, value) for name, value in sorted(fields.items()) if name not in BESIDE]
    if last_round is not None:
        inside.append((LAST_ROUND, last_round))
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=DICTIONARY)
    return _FORM + deflate.compress(_listed(inside)) + deflate.flush()


def unpacked(packed: bytes) -> tuple[dict[bytes, bytes], bytes | None]:
    """Return the fields inside a packed record, and the last round of its job.

    Raises:
        ValueError: This version does not know its form.
    """
    if packed[:1] != _FORM:
        raise ValueError(f"a packed job has the form {packed[:1]!r}")
    try:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=DICTIONARY)
        parts = _parts(inflate.decompress(packed[1:]))
        fields = dict(zip(parts[::2], parts[1::2], strict=True))
    except zlib.error as error:
        raise ValueError(f"a packed job cannot be inflated: {error}") from None
    return fields, fields.pop(LAST_ROUND, None)


def fields_of(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the fields of a job, packed or not, from HGETALL: names and values alternate.

    Raises:
        ValueError: It is packed in a form that this version does not know.
    """
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    packed = fields.pop(PACKED, None)
    return fields if packed is None else unpacked(packed)[0] | fields


def picked(
    names: Sequence[str], values: Sequence[bytes | None], packed: bytes | None
) -> list[bytes | None]:
    """Return what HMGET has read of a job, with what is missing taken from `packed`."""
    if packed is None:
        return list(values)
    inside = unpacked(packed)[0]
    pairs = zip(names, values, strict=True)
    return [inside.get(name.encode()) if value is None else value for name, value in pairs]
