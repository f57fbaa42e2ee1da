"""Plays the scenarios of `scenarios/driver.json` against a client; see `apps`."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients.apps import PythonApp, ScenarioApp, TokenProvider
from tests.clients.counterpart import Counterpart, Socket, a_job, an_offer
from tests.clients.fault_proxy import FaultProxy
from tests.support import GUARD_S, eventually

Step = dict[str, Any]

_SILENCE_S = 0.3
# The server's clock is a quarter of an hour ahead of the phone's, so that a forgotten conversion
# shows.
_AHEAD_MS = 900_000
_SKIPPED = {"location", "offer_ack", "pong"}


def scenarios() -> list[dict[str, Any]]:
    """All scenarios."""
    path = Path(__file__).with_name("scenarios") / "driver.json"
    loaded: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return loaded


@dataclass
class Stage:
    """One scenario under way."""

    engine: Counterpart
    network: FaultProxy
    tokens: TokenProvider
    app: ScenarioApp
    tries_seen: int = 0
    socket: Socket | None = None
    read: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    offer: Any = None

    async def play(self, step: Step) -> None:
        """Do one step, or fail with an AssertionError."""
        (actor,) = step.keys() & {"engine", "network", "app", "phone", "tokens"}
        verb = step[actor] if actor != "phone" else "step"
        play = getattr(self, f"_{actor}_{verb}")
        outcome = play(step)
        if outcome is not None:
            await outcome

    async def stop(self) -> None:
        for call in self.calls.values():
            call.cancel()
        await self.app.stop()

    # The engine

    async def _engine_accept(self, step: Step) -> None:
        async with asyncio.timeout(GUARD_S):
            while True:
                try:
                    self.socket = await self.engine.accepted()
                except TimeoutError:
                    continue
                return

    async def _engine_welcome(self, step: Step) -> None:
        fields = self._fields(step.get("with", {}))
        async with asyncio.timeout(GUARD_S):
            while True:
                await self._engine_accept(step)
                assert self.socket is not None
                given = {"server_time_ms": _server_ms(), **fields}
                # A socket that the client gave up before its hello is followed by another.
                with contextlib.suppress(ConnectionClosed):
                    hello = await self.socket.welcome(**given)
                    break
        _must_hold(hello, self._fields(step.get("hello", {})))

    async def _engine_send(self, step: Step) -> None:
        assert self.socket is not None
        fields = self._fields(step.get("with", {}))
        if step["type"] == "offer":
            fields = an_offer(**{"server_time_ms": _server_ms(), **fields})
        if step["type"] == "welcome":
            fields = {**_WELCOME, "server_time_ms": _server_ms(), **fields}
        await self.socket.send(step["type"], **fields)

    async def _engine_read(self, step: Step) -> None:
        assert self.socket is not None
        async with asyncio.timeout(GUARD_S):
            while True:
                message = await self.socket.read_any()
                if message["type"] == step["type"]:
                    break
                assert message["type"] in _SKIPPED, message
        _must_hold(message, self._fields(step.get("where", {})))
        if "sent_ago_ms" in step:
            age_ms = _server_ms() - message["at_ms"]
            assert abs(age_ms - step["sent_ago_ms"]) < 5_000, age_ms
        name: str = step.get("as") or step["type"]
        self.read[name] = message

    async def _engine_silent(self, step: Step) -> None:
        assert self.socket is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SILENCE_S):
                while True:
                    message = await self.socket.read_any()
                    assert message["type"] in _SKIPPED, message

    async def _engine_reply(self, step: Step) -> None:
        assert self.socket is not None
        await self.socket.reply(self.read[step["to"]], **self._fields(step.get("with", {})))

    async def _engine_refuse(self, step: Step) -> None:
        assert self.socket is not None
        retry = step.get("retry", False)
        await self.socket.refuse(self.read[step["to"]], step["code"], retry=retry)

    async def _engine_close(self, step: Step) -> None:
        assert self.socket is not None
        await self.socket.close(step["code"])

    # The network

    def _network_open(self, step: Step) -> None:
        self.network.set("open")
        self.network.delay_s = 0.0

    def _network_freeze(self, step: Step) -> None:
        self.network.set("freeze")

    def _network_black_hole(self, step: Step) -> None:
        self.network.set("black_hole")

    def _network_refuse(self, step: Step) -> None:
        self.network.set("refuse")

    def _network_slow(self, step: Step) -> None:
        self.network.delay_s = step["delay_ms"] / 1000

    def _network_answer(self, step: Step) -> None:
        self.network.canned = step["bytes"].encode("latin-1")
        self.network.set("answer")

    def _network_cut(self, step: Step) -> None:
        self.network.cut()

    def _network_reset(self, step: Step) -> None:
        self.network.reset()

    async def _network_tried(self, step: Step) -> None:
        goal = self.tries_seen + step["times"]
        await eventually(lambda: self.network.accepted >= goal)
        self.tries_seen = self.network.accepted

    # The app

    def _app_accept(self, step: Step) -> None:
        self._call(step, self.app.accept(self.offer))

    def _app_status(self, step: Step) -> None:
        self._call(step, self.app.status(step["wish"]))

    def _app_progress(self, step: Step) -> None:
        at_ms = time.time_ns() // 1_000_000 - step.get("age_ms", 0)
        self._call(step, self.app.progress(step["job"], step["step"], at_ms))

    def _app_location(self, step: Step) -> None:
        self.app.location()

    async def _app_cancel(self, step: Step) -> None:
        call = self.calls[step["of"]]
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def _app_gives(self, step: Step) -> None:
        await asyncio.wait_for(asyncio.shield(self.calls[step["of"]]), GUARD_S)

    async def _app_fails(self, step: Step) -> None:
        outcomes = await asyncio.gather(
            asyncio.wait_for(self.calls[step["of"]], GUARD_S), return_exceptions=True
        )
        assert type(outcomes[0]).__name__ == step["error"], outcomes

    async def _app_offered(self, step: Step) -> None:
        self.offer = await asyncio.wait_for(self.app.next_offer(), GUARD_S)
        assert self.offer.offer == step["offer"]

    async def _app_shows(self, step: Step) -> None:
        wanted = {name: value for name, value in step.items() if name != "app"}
        shown: dict[str, Any] = {}

        async def matches() -> bool:
            shown.update(await self.app.shown(list(wanted)))
            return shown == wanted

        try:
            await eventually(matches)
        except AssertionError:
            raise AssertionError(f"{shown} instead of {wanted}") from None

    def _app_hint(self, step: Step) -> None:
        self.app.hint()

    async def _app_kill(self, step: Step) -> None:
        self.network.reset()
        await self.app.kill()

    async def _app_restart(self, step: Step) -> None:
        await self.app.start()

    # The phone and its tokens

    def _phone_step(self, step: Step) -> None:
        self.app.step_clock(step["phone"]["step_ms"])

    def _tokens_same(self, step: Step) -> None:
        self.tokens.mode = "same"

    def _tokens_fresh(self, step: Step) -> None:
        self.tokens.mode = "fresh"

    def _tokens_fails(self, step: Step) -> None:
        self.tokens.mode = "fails"

    async def _tokens_asked(self, step: Step) -> None:
        assert self.tokens.given <= step["at_most"]

    def _call(self, step: Step, call: Any) -> None:
        name: str = step.get("as") or step["app"]
        self.calls[name] = asyncio.ensure_future(call)

    def _fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Fill in what a table cannot know: whole jobs and offers, and times."""
        filled = dict(fields)
        for name, given in fields.items():
            if name in {"expires_in_ms", "at_in_ms"}:
                filled[name.replace("_in", "")] = _server_ms() + filled.pop(name)
            if name == "jobs" and isinstance(given, list):
                filled[name] = [a_job(**job) for job in given]
            if name == "offer" and isinstance(given, dict):
                filled[name] = {"type": "offer", **an_offer(**self._fields(given))}
            if name == "detail":
                filled[name] = a_job(**given)
        return filled


_WELCOME = {
    "session": "s1",
    "driver": "d1",
    "market": "phoenix",
    "seq": 0,
    "ping_ms": 25_000,
    "location_ms": 4_000,
    "max_bytes": 16_384,
    "token_expires_ms": 4_000_000_000_000,
    "state": "available",
    "offer": None,
    "jobs": [],
}


def _server_ms() -> int:
    return time.time_ns() // 1_000_000 + _AHEAD_MS


def _must_hold(message: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert {name: message.get(name) for name in wanted} == wanted


MakeApp = Callable[[str, TokenProvider, dict[str, Any]], ScenarioApp]


@contextlib.asynccontextmanager
async def staged(
    options: dict[str, Any], make: MakeApp = PythonApp, *, answers_probes: bool = False
) -> AsyncIterator[Stage]:
    """A client, a network and an engine, until the end of the block."""
    async with (
        Counterpart.listening(answers_probes=answers_probes) as engine,
        FaultProxy.to(int(engine.url.rpartition(":")[2])) as network,
    ):
        tokens = TokenProvider()
        stage = Stage(engine, network, tokens, make(network.url, tokens, options))
        await stage.app.start()
        try:
            yield stage
        finally:
            await stage.stop()


async def play(
    scenario: dict[str, Any], make: MakeApp = PythonApp, *, answers_probes: bool = False
) -> None:
    """Play a scenario to its end, or fail with an AssertionError that names the step."""
    options = scenario.get("options", {})
    async with staged(options, make, answers_probes=answers_probes) as stage:
        for number, step in enumerate(scenario["steps"], 1):
            try:
                await stage.play(step)
            except BaseException as error:
                error.add_note(f"in step {number}: {step}")
                raise


def as_params() -> list[Any]:
    """All scenarios as parameters of a test, each with the findings that it keeps mended."""
    return [
        pytest.param(
            scenario,
            id=scenario["name"],
            marks=[pytest.mark.finding(row) for row in scenario["findings"]],
        )
        for scenario in scenarios()
    ]
