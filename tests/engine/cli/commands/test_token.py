from pathlib import Path

import pytest

from mallard_engine.cli.main import main
from mallard_engine.config.settings import Settings
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_protocol.codes import Role


def test_each_driver_gets_a_token_on_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_token_keys(Settings(data=tmp_path))  # as a node does at its start
    flags = ["--market", "phoenix", "--data", str(tmp_path)]
    assert main(["token", "driver", "d-1", "d-2", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    tokens = Tokens(load_token_keys(Settings(data=tmp_path)))
    found = [tokens.verify(line) for line in lines]
    assert [(it.sub, it.role, it.market) for it in found] == [
        ("d-1", Role.DRIVER, "phoenix"),
        ("d-2", Role.DRIVER, "phoenix"),
    ]


def test_unknown_market_lists_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(tmp_path)]
    assert main(["token", "driver", "d-1", "--market", "atlantis", *flags]) == 2
    assert capsys.readouterr().err.rstrip().endswith("phoenix")
    assert main(["token", "driver", "d-1", "--market", "sandbox", *flags]) == 2
    assert "phoenix; MALLARD_SANDBOX=on adds it" in capsys.readouterr().err


def test_tokens_of_services_and_operators_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MALLARD_SECRET", "s" * 32)
    assert main(["token", "orders", "shop", "--data", str(tmp_path)]) == 0
    assert main(["token", "operator", "ann", "--ttl-s", "60", "--data", str(tmp_path)]) == 0
    shop, ann = capsys.readouterr().out.splitlines()
    tokens = Tokens(load_token_keys(Settings(secret="s" * 32)))
    assert tokens.verify(shop).role is Role.ORDERS
    assert tokens.verify(ann).role is Role.OPERATOR
    assert tokens.verify(shop).expires_ms - tokens.verify(ann).expires_ms > 80_000_000
    assert list(tmp_path.iterdir()) == []


def test_token_of_a_counter_names_its_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MALLARD_SECRET", "s" * 32)
    shop = ["--mall", "chandler-fashion-center", "--store", "lego"]
    assert main(["token", "store", "till-1", *shop, "--data", str(tmp_path)]) == 0
    found = Tokens(load_token_keys(Settings(secret="s" * 32))).verify(
        capsys.readouterr().out.strip()
    )
    assert (found.sub, found.role, found.market) == ("till-1", Role.STORE, None)
    assert found.shop == ("chandler-fashion-center", "lego")


@pytest.mark.parametrize(
    "argv",
    [
        ["store", "till"],
        ["store", "till", "--mall", "chandler-fashion-center"],
        ["store", "till", "--store", "lego"],
        ["store", "till", "--mall", "atlantis", "--store", "lego"],
        ["store", "till", "--mall", "chandler-fashion-center", "--store", "atlantis"],
        ["store", "a", "b", "--mall", "chandler-fashion-center", "--store", "lego"],
        ["driver", "d-1"],
        ["driver", "--market", "phoenix"],
        ["driver", "d-1", "--market", "atlantis"],
        ["driver", "d 1", "--market", "phoenix"],
        ["orders"],
        ["orders", "a", "b"],
        ["orders", "a}b"],
        ["orders", "shop", "--ttl-s", "0"],
        ["orders", "shop", "--ttl-s", "soon"],
        ["admin", "root"],
        [],
    ],
)
def test_invalid_usage_is_exit_status_2(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["token", *argv, *(["--data", str(tmp_path)] if argv else [])])
    except SystemExit as left:
        status = int(left.code or 0)
    assert status == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err


@pytest.mark.finding("D16")
@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_folder_that_no_engine_has_used_gets_no_secret(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "orders", "shop", "--data", str(tmp_path / folder)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert "mallard serve" in printed.err
    assert list(tmp_path.iterdir()) == []
