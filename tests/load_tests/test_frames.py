import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from load_tests.frames import SUBPROTOCOL, BadFrame, pack, unpack
from mallard_engine.contract.reading.frames import MSGPACK

VECTORS = Path(__file__).parents[1] / "protocol" / "vectors"


def vectors(name: str) -> list[Any]:
    cases = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", vectors("client"))
def test_packed_frames_match_the_golden_frames(case: dict[str, Any]) -> None:
    fields = dict(case["json"])
    assert unpack(pack(fields.pop("type"), **fields)) == case["json"]
    assert unpack(bytes.fromhex(case["msgpack"])) == case["json"]


@pytest.mark.parametrize("case", vectors("server"))
def test_frames_of_the_engine_are_read(case: dict[str, Any]) -> None:
    assert unpack(bytes.fromhex(case["msgpack"])) == case["json"]


def test_engine_reads_what_is_packed() -> None:
    fix = [1763827200000, 33.3, -111.9, 5.0, None, 8.0]
    message, bad_fixes = MSGPACK.read(pack("location", fixes=[fix]))
    assert message == MSGPACK.read(pack("location", fixes=[fix], now_ms=None))[0]
    assert bad_fixes == 0
    assert MSGPACK.codec.subprotocol == SUBPROTOCOL


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", msgpack.packb([1]), msgpack.packb({"id": 1})],
    ids=["empty", "no MessagePack", "cut off", "a list", "without a type"],
)
def test_invalid_message_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        unpack(data)
