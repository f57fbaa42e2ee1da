import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mallard_engine.config.settings import ConfigError
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_engine.gateway.auth.token_keys import PublicKey, TokenKeys
from mallard_engine.gateway.auth.tokens import (
    BadToken,
    Principal,
    Shop,
    TokenExpired,
    Tokens,
    WrongScope,
    bearer,
)
from mallard_protocol.codes import Role
from mallard_protocol.messages import Vehicle

SECRET = b"a-secret-of-more-than-thirty-two-bytes"
OTHER = b"another-secret-of-more-than-32-bytes!!"
NOW_S = 1_800_000_000
CLAIMS = {"sub": "shop", "role": "orders", "aud": "mallard", "exp": NOW_S + 60}


def _jwk(key: Any) -> jwt.PyJWK:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return jwt.PyJWK(algorithm.to_jwk(key.public_key(), as_dict=True))


RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
KEY_SET = (
    PublicKey("r1", "RS256", _jwk(RSA_KEY)),
    PublicKey("e1", "ES256", _jwk(EC_KEY)),
)


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_S * 1000

    def __call__(self) -> int:
        return self.now_ms


def tokens(*secrets: bytes, public: tuple[PublicKey, ...] = ()) -> Tokens:
    return Tokens(TokenKeys(secrets, public), Clock())


def signed(
    claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **header: Any
) -> str:
    return jwt.encode(claims, key, algorithm, headers=header)


def test_token_gives_its_subject() -> None:
    assert tokens(SECRET).verify(signed(CLAIMS)) == Principal(
        "shop", Role.ORDERS, None, (NOW_S + 60) * 1000
    )


def test_shops_token_has_mall_and_store() -> None:
    claims = CLAIMS | {"sub": "till", "role": "store", "mall": "chandler", "store": "lego"}
    expires_ms = (NOW_S + 60) * 1000
    assert tokens(SECRET).verify(signed(claims)) == Principal(
        "till", Role.STORE, None, expires_ms, shop=Shop("chandler", "lego")
    )
    found = tokens(SECRET).verify(signed(claims | {"market": "phoenix"}))
    assert found.market == "phoenix"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"mall": "chandler"},
        {"store": "lego"},
        {"mall": None, "store": "lego"},
        {"mall": "a/b", "store": "lego"},
        {"mall": "chandler", "store": 7},
        {"mall": "chandler", "store": ""},
        {"mall": "chandler", "store": "lego", "market": "a b"},
    ],
)
def test_shops_token_without_its_shop_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        tokens(SECRET).verify(signed(CLAIMS | {"role": "store"} | claims))


def test_other_roles_have_no_shop() -> None:
    claims = CLAIMS | {"mall": "chandler", "store": "lego"}
    assert tokens(SECRET).verify(signed(claims)).shop is None


def test_driver_token_has_market_and_equipment() -> None:
    claims = CLAIMS | {
        "sub": "d-1",
        "role": "driver",
        "market": "phoenix",
        "equipment": ["id_check"],
        "aud": ["other", "mallard"],
        "nbf": NOW_S,
        "iat": NOW_S - 5,
        "unknown": {"claims": "are ignored"},
    }
    assert tokens(SECRET).verify(signed(claims)) == Principal(
        "d-1",
        Role.DRIVER,
        "phoenix",
        (NOW_S + 60) * 1000,
        DriverClaims(equipment=("id_check",)),
        issued_ms=(NOW_S - 5) * 1000,
    )


def test_two_secrets_are_valid_and_a_retired_one_is_not() -> None:
    both = tokens(SECRET, OTHER)
    assert both.verify(signed(CLAIMS)).sub == "shop"
    assert both.verify(signed(CLAIMS, OTHER)).sub == "shop"
    with pytest.raises(BadToken, match="not signed by a key"):
        tokens(OTHER).verify(signed(CLAIMS))


@pytest.mark.finding("A15")
def test_key_that_is_replaced_is_refused_at_once() -> None:
    checked = tokens(SECRET)
    assert checked.verify(signed(CLAIMS)).sub == "shop"
    checked.use(TokenKeys((OTHER,)))
    assert checked.verify(signed(CLAIMS, OTHER)).sub == "shop"
    with pytest.raises(BadToken, match="not signed by a key"):
        checked.verify(signed(CLAIMS))


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1e300},
        {"exp": True},
        {"sub": None},
        {"sub": ""},
        {"sub": "a b"},
        {"sub": "{phoenix}"},
        {"sub": "x\n"},
        {"sub": "x" * 65},
        {"sub": 7},
        {"role": "admin"},
        {"role": None},
        {"aud": None},
        {"aud": "duck"},
        {"aud": ["duck"]},
        {"aud": []},
        {"role": "driver"},
        {"role": "driver", "market": "*"},
        {"role": "driver", "market": ""},
        {"nbf": NOW_S + 60},
        {"iat": NOW_S + 60},
        {"equipment": "id_check"},
    ],
    ids=str,
)
def test_missing_or_wrong_claims_are_refused(wrong: dict[str, Any]) -> None:
    claims = {name: it for name, it in (CLAIMS | wrong).items() if it is not None}
    # Signed with the low-level API, which does not check claims.
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), SECRET, "HS256")
    with pytest.raises(BadToken):
        tokens(SECRET).verify(token)


def test_token_within_the_clock_leeway_is_valid() -> None:
    tokens(SECRET).verify(signed(CLAIMS | {"nbf": NOW_S + 5, "iat": NOW_S + 5}))


def test_cached_token_expires_to_the_millisecond() -> None:
    clock = Clock()
    checker = Tokens(TokenKeys((SECRET,)), clock)
    token = signed(CLAIMS)
    checker.verify(token)
    clock.now_ms += 59_999
    checker.verify(token)
    clock.now_ms += 1
    for _ in range(2):
        with pytest.raises(TokenExpired):
            checker.verify(token)


def test_tokens_of_the_key_set_are_valid() -> None:
    checker = tokens(SECRET, public=KEY_SET)
    checker.verify(signed(CLAIMS, RSA_KEY, "RS256", kid="r1"))
    checker.verify(signed(CLAIMS, EC_KEY, "ES256", kid="e1"))
    checker.verify(signed(CLAIMS, EC_KEY, "ES256"))
    checker.verify(signed(CLAIMS))


@pytest.mark.parametrize("kid", ["r2", "../../../etc/passwd", "https://example.org/keys", ""])
def test_kid_selects_keys_of_the_key_set_only(kid: str) -> None:
    with pytest.raises(BadToken, match="not signed by a key"):
        tokens(public=KEY_SET).verify(signed(CLAIMS, RSA_KEY, "RS256", kid=kid))


def test_public_key_is_not_accepted_as_a_secret() -> None:
    """HS256 with the public key as the secret: the swap of RFC 8725, section 2.1."""
    pem = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = _part({"alg": "HS256", "typ": "JWT", "kid": "r1"})
    signing_input = f"{header}.{_part(CLAIMS)}".encode()
    hmac = jwt.get_algorithm_by_name("HS256")
    signature = base64.urlsafe_b64encode(hmac.sign(signing_input, pem)).decode().rstrip("=")
    token = f"{signing_input.decode()}.{signature}"
    for checker in (tokens(public=KEY_SET), tokens(SECRET, public=KEY_SET)):
        with pytest.raises(BadToken, match="not signed by a key"):
            checker.verify(token)


def test_key_verifies_only_its_own_algorithm() -> None:
    with pytest.raises(BadToken):
        tokens(public=KEY_SET).verify(signed(CLAIMS, RSA_KEY, "PS256", kid="r1"))
    with pytest.raises(BadToken):
        tokens(SECRET * 2).verify(signed(CLAIMS, SECRET * 2, "HS512"))


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


GOOD = signed(CLAIMS)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "nonsense",
        "é.é.é",
        "\udce9",
        GOOD[:-2],
        GOOD[:-4] + "AAAA",
        GOOD + "x",
        f"{_part({'alg': 'none'})}.{_part(CLAIMS)}.",
        f"{_part({'alg': 'None'})}.{_part(CLAIMS)}.",
        f"{_part({'alg': ['HS256']})}.{_part(CLAIMS)}.AAAA",
        f"{_part({})}.{_part(CLAIMS)}.AAAA",
        f"{_part([])}.{_part(CLAIMS)}.AAAA",
        f"{_part({'alg': 'HS256', 'kid': 7})}.{_part(CLAIMS)}.AAAA",
        f"{_part({'alg': 'HS256', 'b64': False, 'crit': ['b64']})}..AAAA",
        "x" * 10_000,
    ],
)
def test_garbage_is_refused_and_never_quoted(token: str) -> None:
    with pytest.raises(BadToken) as raised:
        tokens(SECRET, public=KEY_SET).verify(token)
    assert len(token) < 10 or token not in str(raised.value)


def _outcome(verifier: Tokens, token: str) -> Principal | str:
    try:
        return verifier.verify(token)
    except BadToken as error:
        return str(error)


@pytest.mark.parametrize(
    "bend",
    [
        lambda token: token,
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "E"),
        lambda token: token[:-1] + chr(ord(token[-1]) + 1),  # the same bytes, spelled otherwise
        lambda token: token + "=",
        lambda token: token + "\u00e9",
        lambda token: token + ".e30",
        lambda token: token.replace(".", ".e30.", 1),
        lambda token: token.replace(".", ".A", 1),
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0],
        lambda token: token.partition(".")[0],
        lambda _: signed(CLAIMS | {"sub": "other"}, OTHER),
        lambda _: signed(CLAIMS | {"sub": "other"}),
    ],
)
def test_known_header_changes_no_verdict(bend: Callable[[str], str]) -> None:
    token = bend(signed(CLAIMS))
    verifier = tokens(SECRET)
    verifier.verify(signed(CLAIMS | {"sub": "first"}))
    assert _outcome(verifier, token) == _outcome(tokens(SECRET), token)


@pytest.mark.parametrize("payload", ["e30=", "e3 0", "e31", "\u00e9"])
def test_signed_payload_has_one_spelling(payload: str) -> None:
    verifier = tokens(SECRET)
    verifier.verify(token := signed(CLAIMS))
    signed_part = f"{token.partition('.')[0]}.{payload}"
    digest = hmac.digest(SECRET, signed_part.encode(), "sha256")
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    bent = f"{signed_part}.{signature}"
    assert _outcome(verifier, bent) == _outcome(tokens(SECRET), bent)


def test_retired_secret_is_refused_though_its_header_is_known() -> None:
    verifier = tokens(SECRET)
    verifier.verify(signed(CLAIMS))
    verifier.use(TokenKeys((OTHER,)))
    with pytest.raises(BadToken):
        verifier.verify(signed(CLAIMS | {"sub": "second"}))


def test_token_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mallard_engine.gateway.auth.tokens.MAX_CACHED", 3)
    checker = tokens(SECRET)
    minted = [checker.mint(f"shop-{n}", Role.ORDERS, ttl_s=60) for n in range(5)]
    assert [checker.verify(token).sub for token in minted + minted] == [
        f"shop-{n}" for n in (0, 1, 2, 3, 4) * 2
    ]
    assert len(checker._known) == 3


def test_minted_tokens_verify() -> None:
    checker = tokens(SECRET, OTHER)
    token = checker.mint("d-1", Role.DRIVER, ttl_s=1.5, market="phoenix", equipment=["bag"])
    assert checker.verify(token) == Principal(
        "d-1",
        Role.DRIVER,
        "phoenix",
        (NOW_S + 2) * 1000,
        DriverClaims(equipment=("bag",)),
        issued_ms=NOW_S * 1000,
    )
    with pytest.raises(ConfigError):
        tokens(public=KEY_SET).mint("shop", Role.ORDERS, ttl_s=60)


def test_claim_that_no_token_has_is_not_minted() -> None:
    misspelt: dict[str, Any] = {"qualification": ["alcohol"]}
    with pytest.raises(TypeError, match="qualification"):
        tokens(SECRET).mint("d-1", Role.DRIVER, ttl_s=60, market="phoenix", **misspelt)


def test_claims_of_a_driver_survive_the_token() -> None:
    checker = tokens(SECRET)
    token = checker.mint(
        "d-1",
        Role.DRIVER,
        ttl_s=60,
        market="phoenix",
        alias="Ann",
        vehicle=Vehicle(kind="van", max_jobs=3),
        equipment=["bag"],
        qualifications=["alcohol"],
    )
    assert checker.verify(token).claims == DriverClaims(
        alias="Ann",
        vehicle=StatedVehicle(kind="van", max_jobs=3),
        equipment=("bag",),
        qualifications=("alcohol",),
    )


def test_equal_subjects_are_callers_of_their_own() -> None:
    of_driver, of_shop = {"role": "driver"}, {"role": "store", "mall": "north"}
    claims = [
        CLAIMS,
        CLAIMS | {"role": "operator"},
        CLAIMS | of_driver | {"market": "phoenix"},
        CLAIMS | of_driver | {"market": "las-vegas"},
        CLAIMS | of_shop | {"store": "shop"},
        CLAIMS | of_shop | {"store": "lego"},
    ]
    callers = [tokens(SECRET).verify(signed(each)).caller for each in claims]
    assert len(set(callers)) == len(claims)
    till = CLAIMS | of_shop | {"store": "lego", "sub": "till-2"}
    assert tokens(SECRET).verify(signed(till)).caller == callers[-1]


def test_principal_has_one_role() -> None:
    principal = tokens(SECRET).verify(GOOD)
    principal.require(Role.OPERATOR, Role.ORDERS)
    with pytest.raises(WrongScope, match="operator"):
        principal.require(Role.OPERATOR)


def test_token_is_in_the_one_authorization_header() -> None:
    assert bearer(["Bearer abc"]) == bearer(["bearer  abc "]) == "abc"
    for headers in (
        [],
        ["Bearer abc", "Bearer abc"],
        ["Basic abc"],
        ["Bearer"],
        ["Bearer "],
        ["abc"],
    ):
        with pytest.raises(BadToken):
            bearer(headers)
