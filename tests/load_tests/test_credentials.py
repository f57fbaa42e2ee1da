from argparse import Namespace
from pathlib import Path

import jwt
import pytest

from load_tests.credentials import BadCredentials, Credentials, read_driver_tokens, read_secret
from load_tests.users.options import take_credentials

SECRET = "a secret that only this test and its engine know"


def claims(token: str) -> dict[str, str]:
    decoded: dict[str, str] = jwt.decode(token, SECRET, ["HS256"], audience="mallard")
    return decoded


def given(**options: str) -> Namespace:
    names = ("secret", "secret_file", "orders_token", "operator_token", "driver_tokens")
    return Namespace(**(dict[str, str | None].fromkeys(names) | options))


def driver_token(name: str) -> str:
    return Credentials(secret=SECRET).driver(name, "phoenix").token


def test_secret_mints_every_token() -> None:
    credentials = Credentials(secret=SECRET)
    assert claims(credentials.orders)["role"] == "orders"
    assert claims(credentials.operator)["role"] == "operator"
    driver = credentials.driver("load-1", "phoenix")
    assert (driver.driver, driver.market) == ("load-1", "phoenix")
    assert claims(driver.token).items() >= {
        ("sub", "load-1"),
        ("role", "driver"),
        ("market", "phoenix"),
    }
    assert credentials.drivers(0, 1) is None


def test_given_tokens_are_used_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "drivers"
    file.write_text("\n".join(map(driver_token, ("d-1", "d-2", "d-3"))) + "\n")
    credentials = take_credentials(given(orders_token="an-orders-token", driver_tokens=str(file)))
    assert credentials.orders == "an-orders-token"
    assert not credentials.can_watch
    shares = [credentials.drivers(worker, 2) or () for worker in (0, 1)]
    assert [[it.driver for it in share] for share in shares] == [["d-1", "d-3"], ["d-2"]]
    assert {it.market for it in shares[0]} == {"phoenix"}


def test_missing_token_is_named() -> None:
    nothing = Credentials()
    with pytest.raises(BadCredentials, match="--orders-token"):
        _ = nothing.orders
    with pytest.raises(BadCredentials, match="--operator-token"):
        _ = nothing.operator
    with pytest.raises(BadCredentials, match="--driver-tokens"):
        nothing.driver("d-1", "phoenix")


def test_secret_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert read_secret(tmp_path / "secret") == SECRET
    options = given(secret_file=str(tmp_path / "secret"))
    assert claims(take_credentials(options).orders)["role"] == "orders"


def test_nothing_secret_stays_in_what_a_master_sends() -> None:
    options = given(secret=SECRET, orders_token="one", operator_token="two")
    take_credentials(options)
    assert not {SECRET, "one", "two"} & set(vars(options).values())


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_secret_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    for read in (read_secret, read_driver_tokens):
        with pytest.raises(BadCredentials):
            read(tmp_path / "file")
    with pytest.raises(BadCredentials):
        read_secret(tmp_path / "not there")


def test_orders_token_is_not_a_drivers(tmp_path: Path) -> None:
    for token in (Credentials(secret=SECRET).orders, "no-token"):
        (tmp_path / "file").write_text(token)
        with pytest.raises(BadCredentials, match="not a driver's token"):
            read_driver_tokens(tmp_path / "file")
