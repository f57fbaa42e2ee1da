"""Signs the links of images: a link gives access to its image until it expires."""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

from mallard_protocol.codes import PROOF_LINK_KEPT_S
from mallard_protocol.fields import ID_PATTERN

_START: Final = "proof_"
_ID: Final = re.compile(ID_PATTERN)
_RANDOM_BYTES: Final = 16


def new_proof_id(market: str) -> str:
    """Return an id that names the market and cannot be guessed."""
    return f"{_START}{market}.{secrets.token_urlsafe(_RANDOM_BYTES)}"


def market_of_proof(proof: str) -> str | None:
    """Return the market that an id names; None if it is none of ours."""
    market, dot, _ = proof.removeprefix(_START).rpartition(".")
    return market if dot and proof.startswith(_START) and _ID.match(proof) else None


def expiry_of(now_ms: int) -> int:
    """Return when a link that is made now expires, in epoch seconds."""
    return now_ms // 1000 + PROOF_LINK_KEPT_S


def signature(key: bytes, proof: str, expires: int) -> str:
    """Return the signature of a link."""
    digest = hmac.digest(key, f"{proof}\n{expires}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signed(key: bytes, proof: str, expires: int, given: str) -> bool:
    """Whether a link has its signature. Does not check its expiry."""
    return hmac.compare_digest(signature(key, proof, expires).encode(), given.encode())
