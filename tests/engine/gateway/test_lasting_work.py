"""What a node does for as long as it runs outlives errors that nobody expected."""

from collections.abc import Callable
from typing import Any

import pytest

from mallard_engine import tasks
from mallard_engine.gateway import node as node_module
from mallard_engine.gateway.auth.revocations import RevokedTokens
from mallard_engine.gateway.membership.presence import Presence
from mallard_engine.gateway.node import Node
from mallard_engine.gateway.proofs import image_store
from tests.engine.gateway.conftest import NodeFactory
from tests.support import eventually


class Faulty:
    """Replaces a call: once armed it fails the first two times, and is counted."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.is_armed = False
        self.called = 0
        self._call = call

    def __call__(self, *args: Any) -> Any:
        if self.is_armed:
            self.called += 1
            if self.called <= 2:
                raise RuntimeError("a fault")
        return self._call(*args)


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (node_module, "move_turns"),
        (RevokedTokens, "refresh"),
        (Presence, "announce"),
        (Node, "_with_gone_images"),
    ],
    ids=["watch-store", "revocations", "announce", "proofs"],
)
async def test_work_goes_on_after_an_error(
    engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch, of: Any, name: str
) -> None:
    monkeypatch.setattr(tasks, "_AGAIN_S", 0.0)
    monkeypatch.setattr(image_store.ImageStore.keep_removing, "__defaults__", (0.1,))
    faulty = Faulty(getattr(of, name))

    def call(*args: Any) -> Any:  # a function, which a class binds
        return faulty(*args)

    monkeypatch.setattr(of, name, call)
    await engine_node()
    faulty.is_armed = True
    await eventually(lambda: faulty.called > 3)
