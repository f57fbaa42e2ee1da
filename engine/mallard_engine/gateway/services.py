"""What the HTTP side works with."""

import asyncio
from dataclasses import dataclass

from mallard_engine.core.places.markets import Places
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway.auth import Tokens
from mallard_engine.ports import Store


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts of a node that its order API uses: one of each for all requests."""

    store: Store
    dispatcher: Dispatcher
    places: Places
    tokens: Tokens
    # Set when the node is about to end: who waits for something is answered now.
    leaving: asyncio.Event
