import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from mallard_client.errors import ApiProblem, Unreachable
from mallard_engine.cli.commands import watch
from mallard_engine.cli.live.board import Board
from mallard_engine.cli.live.board_page import page
from mallard_protocol.codes import ProblemCode
from tests import commands
from tests.engine.gateway.commands.conftest import Mallard
from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order
from tests.support import GUARD_S, eventually


async def test_page_shows_jobs_drivers_alerts_and_nodes(
    node: RunningNode, mallard: Mallard
) -> None:
    async with open_app(node.ws, node.token("d-1")) as app:
        await app.go_online(position=NEAR)
        await app.ask("problem", kind="accident")
        await Caller(node, "shop").submit(order(external_id="A-1"))
        status, lines, errors = await mallard(
            "watch", "--market", "phoenix", "--url", node.url, "--once"
        )
    assert (status, errors) == (0, [])
    facts = {each.split()[0]: each for each in lines if each}
    assert "1 queued" in facts["JOBS"] or "1 offered" in facts["JOBS"]
    assert "1 available" in facts["DRIVERS"] or "1 offered" in facts["DRIVERS"]
    assert node.node.id in facts["NODES"]
    assert "accident" in facts["alert"]


async def test_lines_follow_a_job_where_there_is_no_terminal(
    node: RunningNode, tmp_path: Path
) -> None:
    output, errors = tmp_path / "out", tmp_path / "err"
    env = {"MALLARD_SECRET": "s" * 32, "MALLARD_DATA": str(tmp_path)}
    flags = ["--market", "phoenix", "--url", node.url, "--every-s", "1"]
    with output.open("wb") as out, errors.open("wb") as err:
        process = await asyncio.to_thread(
            commands.start, "watch", *flags, env=env, output=out, errors=err
        )
        await eventually(lambda: "jobs: none open" in output.read_text())
        async with open_app(node.ws, node.token("d-1")) as app:
            await app.go_online(position=NEAR)
            await node.submit()
            offer = await app.receive("offer")
            await app.ask("accept", offer=offer["offer"])
            await eventually(lambda: "jobs: 1 assigned" in output.read_text())
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, GUARD_S) == 0
    assert errors.read_text() == ""


class Away:
    """An engine that does not answer at first."""

    def __init__(self, failure: Exception) -> None:
        self.failure: Exception | None = failure

    async def nodes(self) -> tuple[Any, ...]:
        if self.failure is not None:
            raise self.failure
        return ()


async def test_unreachable_engine_is_shown_until_it_answers() -> None:
    engine = Away(Unreachable("refused"))
    feed = watch._Feed(engine, Board("phoenix", watch._now()))  # type: ignore[arg-type]
    await feed._unless_away(feed._nodes)
    assert "NO ANSWER" in page(feed.board, watch._now())[0]
    since = feed.board.silent_since
    await feed._unless_away(feed._nodes)
    assert feed.board.silent_since == since
    engine.failure = None
    await feed._unless_away(feed._nodes)
    assert page(feed.board, watch._now())[0].endswith("live")


async def test_revoked_token_ends_the_watch() -> None:
    refusal = ApiProblem(401, ProblemCode.UNAUTHORIZED, "revoked")
    feed = watch._Feed(Away(refusal), Board("phoenix", watch._now()))  # type: ignore[arg-type]
    with pytest.raises(ApiProblem):
        await feed._unless_away(feed._nodes)


async def test_jobs_are_listed_again_after_trimmed_events(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = asyncio.Queue[None]()

    async def events(_: str) -> Any:
        starts.put_nowait(None)
        if starts.qsize() == 1:
            raise ApiProblem(410, ProblemCode.EVENTS_TRIMMED, "gone")
        await asyncio.sleep(60)
        yield

    engine = Away(Unreachable(""))
    monkeypatch.setattr(engine, "events", events, raising=False)
    feed = watch._Feed(engine, Board("phoenix", watch._now()))  # type: ignore[arg-type]
    task = asyncio.create_task(feed.follow())
    await eventually(lambda: starts.qsize() == 2)
    assert feed.has_gap
    task.cancel()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--market", "atlantis"], 2, "there is no market 'atlantis'"),
        ([], 2, "name a market with --market"),
        (["--market", "phoenix", "--url", "http://127.0.0.1:1"], 1, "no engine answers"),
        (["--market", "phoenix", "--url", "here"], 2, "not the address of an engine"),
    ],
)
async def test_market_that_cannot_be_watched_is_one_line(
    node: RunningNode, mallard: Mallard, arguments: list[str], status: int, said: str
) -> None:
    url = [] if "--url" in arguments else ["--url", node.url]
    ended, lines, errors = await mallard("watch", *arguments, *url, "--once")
    assert (ended, lines, len(errors)) == (status, [], 1)
    assert said in errors[0]
