"""`mallard token … --link`: a link that opens a page signed in."""

import asyncio
from pathlib import Path

import pytest

from mallard_engine.cli.main import main
from mallard_engine.config.settings import Settings
from mallard_engine.gateway.auth.sign_in import take_token
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.storage.calls.control.sign_in_codes import RedisSignInCodes
from mallard_engine.storage.client.links import Store

SECRET = "s" * 32
SHOP = ["--mall", "chandler-fashion-center", "--store", "lego"]


async def taken(redis_url: str, code: str) -> str | None:
    link = Store(redis_url).link()
    await link.connect()
    try:
        return await take_token(RedisSignInCodes(link.call), code)
    finally:
        await link.close()


@pytest.mark.parametrize(
    ("argv", "page"),
    [
        (["operator", "ann"], "console"),
        (["store", "till", *SHOP], "shop"),
        (["driver", "d-1", "--market", "phoenix"], "driver"),
    ],
)
def test_link_opens_the_page_of_its_role(
    *,
    argv: list[str],
    page: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MALLARD_SECRET", SECRET)
    monkeypatch.setenv("MALLARD_PUBLIC_URL", "https://mall.example/")
    assert main(["token", *argv, "--link", "--redis", redis_url]) == 0
    address, _, code = capsys.readouterr().out.strip().partition("#")
    assert address == f"https://mall.example/{page}"
    token = asyncio.run(taken(redis_url, code))
    assert token is not None
    principal = Tokens(load_token_keys(Settings(secret=SECRET))).verify(token)
    assert (principal.role, principal.sub) == (argv[0], argv[1])


def test_order_services_have_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", "orders", "shop", "--link"])
    assert ended.value.code == 2
    assert "--link" in capsys.readouterr().err


def test_link_without_a_store_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MALLARD_SECRET", SECRET)
    nowhere = f"unix://{tmp_path}/nobody"
    assert main(["token", "operator", "ann", "--link", "--redis", nowhere]) == 2
    assert "a link needs the engine's store" in capsys.readouterr().err
    assert main(["token", "operator", "ann", "--link", "--data", str(tmp_path)]) == 2
    assert "there is no store" in capsys.readouterr().err
