r"""The file format of a road network, which is built once and loaded by every node.

`mallard-roads\n`, the format number and the header's length (both 32 bits, little-endian), the
header as JSON (the source, and each array's name, type and length), the arrays one after another,
and a BLAKE2b digest of all that. Nothing in the file is executed, so an untrusted file can at most
give wrong times. The same extract gives the same bytes.
"""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from mallard_engine.travel.network import Network, RoadsError, array_names
from mallard_engine.travel.osm_profile import PROFILE

FORMAT: Final = 1
LICENCE: Final = "© OpenStreetMap contributors, Open Database Licence 1.0"
_MAGIC: Final = b"mallard-roads\n"
_SIZES: Final = struct.Struct("<II")
_DIGEST_BYTES: Final = 32
_TYPES: Final = {"int32": np.int32, "uint32": np.uint32}
_AGAIN: Final = "build it again with `mallard roads build`"


class About(NamedTuple):
    """The origin of a network: the extract's name, the date of its data, and the profile."""

    source: str
    dated: str
    profile: str = PROFILE


def write_network(path: Path, network: Network, about: About) -> int:
    """Write a file, replacing an existing one atomically; return its size in bytes.

    Raises:
        RoadsError: The file cannot be written.
    """
    arrays = {name: getattr(network, name) for name in array_names()}
    header = {
        "licence": LICENCE,
        **about._asdict(),
        "arrays": [[name, str(array.dtype), len(array)] for name, array in arrays.items()],
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    parts = [_MAGIC, _SIZES.pack(FORMAT, len(text)), text]
    parts += [
        np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        for array in arrays.values()
    ]
    body = b"".join(parts)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(body + _digest(body))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RoadsError(f"{path} cannot be written: {error.strerror}") from error
    return len(body) + _DIGEST_BYTES


def read_network(path: Path) -> tuple[Network, About]:
    """Read a file that `write_network` made.

    Raises:
        RoadsError: The file is of another kind or format, or damaged.
    """
    try:
        body = memoryview(path.read_bytes())
    except OSError as error:
        raise RoadsError(f"{path}: {error.strerror}") from error
    start = len(_MAGIC) + _SIZES.size
    if bytes(body[: len(_MAGIC)]) != _MAGIC or len(body) < start + _DIGEST_BYTES:
        raise RoadsError(
            f"{path} is not a road network of Mallard: build one with `mallard roads build`"
        )
    version, header_bytes = _SIZES.unpack(body[len(_MAGIC) : start])
    if version != FORMAT:
        raise RoadsError(f"{path} is of format {version}, and this is format {FORMAT}: {_AGAIN}")
    body, digest = body[:-_DIGEST_BYTES], body[-_DIGEST_BYTES:]
    if _digest(body) != digest:
        raise RoadsError(f"{path} is damaged, as its checksum does not match: {_AGAIN}")
    try:
        header = json.loads(bytes(body[start : start + header_bytes]))
        about = About(*(str(header[name]) for name in About._fields))
        network = _network(header["arrays"], body[start + header_bytes :])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RoadsError(f"{path} is inconsistent ({error}): {_AGAIN}") from error
    if about.profile != PROFILE:
        raise RoadsError(f"{path} was made by other rules for cars ({about.profile}): {_AGAIN}")
    return network, about


def _network(described: list[Any], data: memoryview) -> Network:
    arrays: dict[str, Any] = {}
    at = 0
    for name, kind, length in described:
        plain = np.dtype(_TYPES[kind])
        size = plain.itemsize * length
        arrays[name] = np.frombuffer(data[at : at + size], plain.newbyteorder("<")).astype(plain)
        at += size
    if at != len(data) or tuple(arrays) != array_names():
        raise ValueError("unexpected arrays")
    return Network(**arrays)


def _digest(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
