"""Which slot of a cluster a command belongs to."""

from collections.abc import Sequence
from typing import Final

from redis.crc import key_slot

SLOTS: Final = 16_384

# Commands about a server: any primary answers them.
_KEYLESS: Final = frozenset(
    {"CLIENT", "CLUSTER", "CONFIG", "ECHO", "FLUSHALL", "INFO", "PING", "ROLE", "SCRIPT", "TIME"}
)
# Where the key is, if it is not the first argument.
_SUBCOMMANDS: Final = frozenset({"MEMORY", "OBJECT", "XGROUP", "XINFO"})
_SCRIPTS: Final = frozenset({"EVAL", "EVALSHA"})
_STREAMS: Final = frozenset({"XREAD", "XREADGROUP"})


def slot_of(command: Sequence[str | bytes | int | float]) -> int | None:
    """Return the slot of a command; None if any server may answer it.

    The keys of a command share one slot, so its first key decides. A SCAN is of the slot of its
    pattern, which is that of one market. Keys are those of `docs/reference`: none is a number.
    """
    name = _text(command[0]).upper()
    if name in _SCRIPTS:
        return slot_of_key(command[3]) if int(command[2]) else None
    if name in _STREAMS:
        words = [_text(word).upper() for word in command]
        return slot_of_key(command[words.index("STREAMS") + 1])
    if name == "SCAN":
        words = [_text(word).upper() for word in command]
        return slot_of_key(command[words.index("MATCH") + 1]) if "MATCH" in words else None
    if name in _KEYLESS:
        return None
    return slot_of_key(command[2 if name in _SUBCOMMANDS else 1])


def slot_of_key(key: str | bytes | float) -> int:
    """Return the slot of a key: that of its hash tag, if it has one."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _text(word: str | bytes | float) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
