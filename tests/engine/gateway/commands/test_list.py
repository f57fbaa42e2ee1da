import json
from pathlib import Path

import pytest

from mallard_engine.cli.main import main
from mallard_protocol.codes import Role
from tests.engine.gateway.commands.conftest import Mallard
from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order


async def test_jobs_are_listed_by_state_and_service(node: RunningNode, mallard: Mallard) -> None:
    shop = Caller(node, "shop")
    first = (await shop.submit(order(external_id="A-1"))).json()["id"]
    second = (await Caller(node, "other").submit(order())).json()["id"]
    await shop.post(f"/v1/jobs/{first}/cancel", {})
    url = ["--url", node.url]

    status, lines, _ = await mallard("list", "jobs", *url)
    assert status == 0
    assert [line.split()[0] for line in lines] == ["JOB", second, first]
    assert lines[2].split()[1] == "cancelled"
    assert lines[2].endswith("A-1")

    status, lines, _ = await mallard("list", "jobs", *url, "--state", "queued", "--json")
    assert [json.loads(line)["id"] for line in lines] == [second]
    _, lines, _ = await mallard("list", "jobs", *url, "--service", "shop", "--json")
    assert [json.loads(line)["id"] for line in lines] == [first]
    _, lines, _ = await mallard("list", "jobs", *url, "--external-id", "A-1", "--market", "phoenix")
    assert len(lines) == 2
    _, lines, _ = await mallard("list", "jobs", *url, "--limit", "1", "--json")
    assert len(lines) == 1
    _, lines, _ = await mallard("list", "jobs", *url, "--created-from", "2099-01-01T00:00:00+00:00")
    assert lines == ["no jobs"]


async def test_drivers_are_listed_with_their_state(node: RunningNode, mallard: Mallard) -> None:
    async with open_app(node.ws, node.token("d-1")) as app:
        await app.go_online(position=NEAR)
        status, lines, _ = await mallard(
            "list", "drivers", "--market", "phoenix", "--url", node.url
        )
        assert status == 0
        assert lines[1].split()[:3] == ["d-1", "available", "yes"]
        near = ["--near", "33.0,-112.5", "--radius-m", "10"]
        _, lines, _ = await mallard(
            "list", "drivers", "--market", "phoenix", "--url", node.url, *near
        )
        assert lines == ["no drivers"]


async def test_alerts_are_listed_by_state(node: RunningNode, mallard: Mallard) -> None:
    async with open_app(node.ws, node.token("d-1")) as app:
        await app.go_online(position=NEAR)
        await app.ask("problem", kind="accident")
    url = ["--url", node.url]
    _, lines, _ = await mallard("list", "alerts", *url, "--json", "--state", "open")
    (alert,) = map(json.loads, lines)
    assert (alert["market"], alert["driver"]) == ("phoenix", "d-1")
    await Caller(node, "ann", Role.OPERATOR).post(f"/v1/alerts/{alert['id']}/acknowledge")
    _, lines, _ = await mallard("list", "alerts", *url, "--state", "open")
    assert lines == ["no alerts"]
    _, lines, _ = await mallard("list", "alerts", *url)
    assert lines[1].split()[0] == alert["id"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jobs", "--market", "atlantis"], "no such market"),
        (["jobs", "--external-id", "a b"], "external_id"),
        (["drivers", "--market", "atlantis"], "404"),
        (["jobs", "--token-file", "{bad}"], "401"),
        (["jobs", "--token-file", "{empty}"], "there is no token in it"),
        (["alerts", "--service", "shop"], ""),
    ],
)
async def test_bad_input_is_one_line_and_status_two(
    node: RunningNode, mallard: Mallard, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "bad").write_text("no.good.token\n")
    (tmp_path / "empty").write_text("\n")
    files = {name: str(tmp_path / name) for name in ("bad", "empty")}
    if not said:  # an option that this list lacks
        with pytest.raises(SystemExit) as usage:
            main(["list", *arguments])
        assert usage.value.code == 2
        return
    status, lines, errors = await mallard(
        "list", *(it.format(**files) for it in arguments), "--url", node.url
    )
    assert (status, lines, len(errors)) == (2, [], 1), errors
    assert said in errors[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "--state", "lying"],
        ["jobs", "--created-from", "yesterday"],
        ["jobs", "--created-to", "2026-01-01T00:00:00"],
        ["jobs", "--limit", "0"],
        ["drivers"],
        ["drivers", "--market", "phoenix", "--near", "1"],
        ["drivers", "--market", "phoenix", "--near", "91,0"],
        ["drivers", "--market", "phoenix", "--radius-m", "-1"],
        ["alerts", "--state", "shut"],
        ["shops"],
    ],
)
def test_wrong_option_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as usage:
        main(["list", *arguments])
    assert usage.value.code == 2


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:1", "http://", "http://[", "http://x/?a=b"])
async def test_address_of_no_engine_is_status_two(mallard: Mallard, url: str) -> None:
    status, lines, errors = await mallard("list", "jobs", "--url", url)
    assert (status, lines, len(errors)) == (2, [], 1)
    assert "not the address of an engine" in errors[0]


async def test_engine_away_is_one_line_and_status_one(mallard: Mallard) -> None:
    status, lines, errors = await mallard("list", "jobs", "--url", "http://127.0.0.1:1")
    assert (status, lines, len(errors)) == (1, [], 1)
    assert "no engine answers at http://127.0.0.1:1" in errors[0]


def test_folder_without_a_secret_is_status_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MALLARD_SECRET", raising=False)
    assert main(["list", "jobs", "--data", str(tmp_path / "none")]) == 2
    assert "no engine has run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
