"""Where matching is paused, and which shops are held."""

from collections.abc import Mapping, Sequence

import msgspec

from mallard_engine.core.model import StoreHold
from mallard_engine.core.pauses import Pause, Pauses

read_pause = msgspec.msgpack.Decoder(Pause).decode


_CLOSED = "closed/"
_WORD = "word/"


def read_pauses(fields: Mapping[bytes, bytes]) -> Pauses:
    """Read where matching is paused, by place."""
    return {place.decode(): read_pause(packed) for place, packed in fields.items()}


def read_holds(flat: Sequence[bytes]) -> dict[str, StoreHold]:
    """Read the held stores, by mall/store, as HGETALL gives them: until when, and why.

    A second field of each store, with `closed/` before its name, is 1 if the store is closed; a
    third, with `word/`, is until when the shop itself has said so.
    """
    fields = {
        name.decode(): int(float(value)) for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
    return {
        store: StoreHold(
            until_ms,
            "store_closed" if fields.get(_CLOSED + store) else "not_ready",
            fields.get(_WORD + store, 0),
        )
        for store, until_ms in fields.items()
        if not store.startswith((_CLOSED, _WORD))
    }
