"""The parts of a node that request handlers use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway.auth.revocations import RevokedTokens
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.gateway.proofs.image_store import ImageStore
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Storage


@dataclass(slots=True, kw_only=True)
class Services:
    """One instance serves all requests of a node.

    `node` is its id. Links that it gives out start with `public_url`. `leaving` is set when it is
    about to shut down: requests that wait are answered at once.
    """

    node: str
    store: Storage
    dispatcher: Dispatcher
    places: Places
    tokens: Tokens
    images: ImageStore
    revoked: RevokedTokens
    metrics: Metrics
    # The policy of a market by the configuration alone, without what operators have set: the
    # dispatcher uses both.
    base_policy: Callable[[str], MarketPolicy]
    public_url: str = ""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
