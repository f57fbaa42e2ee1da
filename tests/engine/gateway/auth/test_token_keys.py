import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.gateway.auth.token_keys import load_token_keys, stored_secret

LONG = "a-secret-of-more-than-thirty-two-bytes"


def test_secret_is_created_once_and_readable_by_its_owner(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    first = stored_secret(folder)
    assert len(first) >= 32
    assert stored_secret(folder) == first
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret"]


def test_concurrent_creators_get_the_same_secret(tmp_path: Path) -> None:
    found: list[bytes] = []
    makers = [
        threading.Thread(target=lambda: found.append(stored_secret(tmp_path))) for _ in "12345"
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(found) == 5
    assert len(set(found)) == 1


def test_configured_secrets_come_first_and_second(tmp_path: Path) -> None:
    file = tmp_path / "secret.txt"
    file.write_text(f"{LONG}2\n")
    keys = load_token_keys(Settings(secret=LONG, second_secret_file=file))
    assert keys.secrets == (LONG.encode(), f"{LONG}2".encode())


def test_secret_of_the_folder_stays_valid_with_a_second_one(tmp_path: Path) -> None:
    keys = load_token_keys(Settings(data=tmp_path, second_secret=LONG))
    assert keys.secrets == (stored_secret(tmp_path), LONG.encode())


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_secret_file_must_hold_a_secret(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "secret.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"secret\.txt"):
        load_token_keys(Settings(secret_file=file))


def jwk(key: Any, **more: str) -> dict[str, Any]:
    algorithm = (
        RSAAlgorithm if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey) else ECAlgorithm
    )
    return {**algorithm.to_jwk(key, as_dict=True), **more}


def test_key_set_holds_public_rsa_and_p256_keys(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    ec_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [jwk(rsa_key, kid="r"), jwk(ec_key)]}))
    keys = load_token_keys(Settings(key_set_file=file))
    assert [(key.id, key.algorithm) for key in keys.public] == [("r", "RS256"), (None, "ES256")]
    assert keys.secrets == ()


def _bad_key_sets() -> dict[str, Any]:
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    private = ec.generate_private_key(ec.SECP256R1())
    return {
        "no set": [],
        "no keys": {"keys": []},
        "no key": {"keys": [{"kid": "x"}]},
        "not a list": {"keys": 7},
        "a secret": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]},
        "a private key": {"keys": [jwk(private)]},
        "another curve": {"keys": [jwk(p384)]},
        "broken": {"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]},
    }


@pytest.mark.parametrize(("name", "content"), list(_bad_key_sets().items()))
def test_other_content_is_not_a_key_set(tmp_path: Path, name: str, content: Any) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"keys\.json") as raised:
        load_token_keys(Settings(key_set_file=file))
    assert "c2VjcmV0" not in str(raised.value)


def test_missing_or_malformed_key_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_token_keys(Settings(key_set_file=tmp_path / "keys.json"))
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(ConfigError):
        load_token_keys(Settings(key_set_file=tmp_path / "keys.json"))


def _unusable_keys() -> list[tuple[str, dict[str, Any], str]]:
    strong = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    weak = jwk(rsa.generate_private_key(65537, 1024).public_key(), kid="k1")
    public = jwk(strong.public_key(), kid="k1")
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    koblitz = ec.generate_private_key(ec.SECP256K1()).public_key()
    return [
        ("an RSA key of 1,024 bits", weak, "1024 bits"),
        ("a private RSA key", jwk(strong, kid="k1"), "private"),
        ("a private EC key", jwk(curve, kid="k1"), "private"),
        ("the curve P-384", jwk(p384, kid="k1"), "P-256"),
        ("the curve secp256k1", jwk(koblitz, kid="k1"), "P-256"),
        ("a secret", {"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}, "neither RSA nor EC"),
        ("another algorithm", public | {"alg": "RS512"}, "RS256"),
        ("an algorithm of the other kind", public | {"alg": "ES256"}, "RS256"),
        ("HS256 for a public key", public | {"alg": "HS256"}, "RS256"),
        ("a key for encryption", public | {"use": "enc"}, "signatures"),
        ("a key that only signs", public | {"key_ops": ["sign"]}, "signatures"),
    ]


@pytest.mark.finding("A12")
@pytest.mark.parametrize(("name", "key", "why"), _unusable_keys())
def test_unusable_key_is_refused_by_name(
    tmp_path: Path, name: str, key: dict[str, Any], why: str
) -> None:
    good = jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), kid="good")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [good, key]}))
    with pytest.raises(ConfigError, match="key 'k1' ") as raised:
        load_token_keys(Settings(key_set_file=file))
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.finding("A12")
def test_duplicate_kid_is_refused(tmp_path: Path) -> None:
    keys = [jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), kid="k1") for _ in "12"]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    with pytest.raises(ConfigError, match="'k1'"):
        load_token_keys(Settings(key_set_file=file))


@pytest.mark.finding("A12")
@pytest.mark.parametrize("name", ["secret", "second_secret"])
def test_secret_shorter_than_its_hash_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.* 31 bytes"):
        load_token_keys(Settings(**{"secret": LONG} | {name: "x" * 31}))  # type: ignore[arg-type]
    assert load_token_keys(Settings(**{"secret": LONG} | {name: "x" * 32})).secrets  # type: ignore[arg-type]


@pytest.mark.finding("A12")
def test_short_secret_in_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.txt"
    file.write_text("short\n")
    with pytest.raises(ConfigError, match=r"secret\.txt.* 5 bytes"):
        load_token_keys(Settings(secret_file=file))
