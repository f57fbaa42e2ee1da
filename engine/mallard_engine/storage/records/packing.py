"""MessagePack as the scripts read and write it."""

import msgspec

pack = msgspec.msgpack.Encoder().encode

NO_ENTRIES = pack([])
_STR_HEADS = {0xD9: 2, 0xDA: 3, 0xDB: 5, 0xC4: 2, 0xC5: 3, 0xC6: 5}


def content_of(raw: msgspec.Raw) -> bytes:
    """Return the content of a packed string."""
    packed = memoryview(raw)
    return bytes(packed[_STR_HEADS.get(packed[0], 1) :])


def as_string(content: bytes) -> msgspec.Raw:
    """Pack fewer than 65,536 bytes as a string: the scripts' MessagePack has no bytes."""
    return msgspec.Raw(b"\xda" + len(content).to_bytes(2) + content)
