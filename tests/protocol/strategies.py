"""Hypothesis strategies for every message that an app may send."""

from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET

from mallard_protocol import messages
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import Step, Wish


def floats(lowest: float, highest: float) -> st.SearchStrategy[float]:
    return st.floats(lowest, highest, allow_nan=False)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(UNSET) | strategy


ids = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)
times = st.integers(EARLIEST_MS, LATEST_MS - 1)
request_ids = st.integers(-(2**53), 2**53)
attempts = st.integers(0, 2**31)
# `Cs`: lone surrogates are not text.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
lats, lons = floats(-90, 90), floats(-180, 180)

fixes = st.tuples(
    *(times, lats, lons, floats(0, 100_000)),
    *(st.none() | floats(0, 360), st.none() | floats(0, 1_000)),
)
vehicles = st.builds(
    messages.Vehicle,
    kind=ids,
    max_jobs=st.integers(1, 50),
    max_weight_g=st.integers(0, 100_000_000),
    max_volume_l=floats(0, 1_000_000),
    equipment=st.lists(ids, max_size=4).map(tuple),
)
hellos = st.builds(
    messages.Hello,
    token=maybe(ids),
    now_ms=maybe(times),
    vehicle=maybe(vehicles),
    position=maybe(
        st.builds(
            messages.HelloPosition,
            lat=lats,
            lon=lons,
            acc_m=maybe(floats(0, 100_000)),
            at_ms=maybe(times),
        )
    ),
    holds=st.lists(
        st.builds(messages.Held, job=ids, attempt=attempts, state=texts.map(lambda it: it[:32])),
        max_size=3,
    ).map(tuple),
    app=maybe(st.builds(messages.App, name=texts, version=texts)),
)
proofs = st.builds(
    messages.Proof, kind=st.sampled_from(["code", "photo", "signature", "age_checked"]), value=texts
)
client_messages = st.one_of(
    hellos,
    st.builds(messages.Status, id=request_ids, state=st.sampled_from(Wish), until_ms=maybe(times)),
    st.builds(
        messages.Location,
        fixes=st.lists(fixes, min_size=1, max_size=5).map(tuple),
        now_ms=maybe(times),
    ),
    st.builds(messages.OfferAck, offer=ids),
    st.builds(messages.Accept, id=request_ids, offer=ids),
    st.builds(messages.Decline, id=request_ids, offer=ids, reason=maybe(texts)),
    st.builds(
        messages.Progress,
        id=request_ids,
        job=ids,
        attempt=attempts,
        step=st.sampled_from(Step),
        at_ms=maybe(times),
        proof=maybe(proofs),
        reason=maybe(texts),
    ),
    st.builds(
        messages.Problem,
        id=request_ids,
        kind=st.sampled_from(["not_ready", "missing", "unsafe", "accident"]),
        job=maybe(ids),
        store=maybe(ids),
        until_ms=maybe(times),
        text=maybe(texts),
    ),
    st.builds(messages.Auth, id=request_ids, token=ids),
    st.builds(messages.Pong),
)

# Values that both formats can encode, within the depth of a frame.
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats(-1e300, 1e300) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
