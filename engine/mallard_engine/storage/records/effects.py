"""The effects of a transition, and the pushes of the stream."""

from collections.abc import Sequence

import msgspec

from mallard_engine.core.model import ProblemAnswer
from mallard_engine.ports import Effects, Freed, LateJob, Push, PushKind
from mallard_engine.storage.records.offers import OfferRecord
from mallard_engine.storage.records.packing import content_of

# Lua packs any bytes as a MessagePack string, so packed values are not decoded as UTF-8 here.
_cards = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class _Effects(msgspec.Struct):
    now: int
    malls: list[str]
    queued: list[tuple[str, str]]
    freed: list[Freed]
    due: list[tuple[str, int]]
    over: list[str]
    late: list[LateJob] = []
    event: str = ""
    alerts: list[str] = []
    hand_overs: list[tuple[str, str]] = []
    shops: list[tuple[str, str]] = []
    nothing_waits: bool = False


class _PushBody(msgspec.Struct):
    driver: str
    seq: int
    kind: str
    offer: OfferRecord | None = None
    offer_id: str = ""
    why: str = ""
    job: str = ""
    attempt: int = 0
    state: str = ""
    reason: str = ""
    mall: str = ""
    epoch: int = 0
    driver_state: str = ""
    until_ms: int | None = None
    answer: ProblemAnswer | None = None


_PUSH_KINDS = {kind.value: kind for kind in PushKind}
_effects = msgspec.msgpack.Decoder(_Effects).decode
_push = msgspec.msgpack.Decoder(_PushBody).decode


def read_push(body: bytes, card: bytes) -> Push:
    """Read a push of the stream. The cards of a run are packed in a list."""
    push = _push(body)
    cards = [card]
    if push.offer and len(push.offer.jobs) > 1:
        cards = [content_of(each) for each in _cards(card)]
    return Push(
        driver=push.driver,
        seq=push.seq,
        kind=_PUSH_KINDS.get(push.kind, PushKind.UNKNOWN),
        offer=push.offer.live(cards) if push.offer else None,
        offer_id=push.offer_id,
        why=push.why,
        job=push.job,
        attempt=push.attempt,
        state=push.state,
        reason=push.reason,
        mall=push.mall,
        epoch=push.epoch,
        driver_state=push.driver_state,
        until_ms=push.until_ms,
        answer=push.answer,
    )


def read_effects(packed: bytes, pushes: Sequence[bytes]) -> Effects:
    """Read a transition's effects; ``pushes`` holds bodies and cards in turn."""
    effects = _effects(packed)
    return Effects(
        now_ms=effects.now,
        pushes=tuple(map(read_push, pushes[::2], pushes[1::2])),
        malls=tuple(dict.fromkeys(effects.malls)),
        queued=tuple(effects.queued),
        freed=tuple(effects.freed),
        due=tuple(effects.due),
        over=tuple(effects.over),
        late=tuple(effects.late),
        event=effects.event,
        alerts=tuple(effects.alerts),
        hand_overs=tuple(effects.hand_overs),
        shops=tuple(effects.shops),
        nothing_waits=effects.nothing_waits,
    )
