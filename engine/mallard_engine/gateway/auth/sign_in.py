"""One-time codes that a page exchanges for a token, so that people need not paste tokens.

Redis knows neither the codes nor the tokens: a code is looked up by one digest of it, and the
token is sealed with another. Reading Redis, or a copy of it, is not enough to sign in.
"""

import hashlib
import re
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mallard_engine.ports import SignInCodes
from mallard_protocol.codes import Role
from mallard_protocol.session import CODE_PATTERN, SIGN_IN_CODE_MS

PAGE_OF: Final = {Role.OPERATOR: "console", Role.DRIVER: "driver", Role.STORE: "shop"}
"""The page for the tokens of a role; order services have none."""
_CODE_BYTES: Final = 18
_CODE: Final = re.compile(CODE_PATTERN)
# Each code seals one token, so its key is used once (NIST SP 800-38D, 8).
_NONCE: Final = bytes(12)


async def keep_token(codes: SignInCodes, token: str) -> str:
    """Keep a token for `SIGN_IN_CODE_MS`; return the code that it can be exchanged for."""
    code = secrets.token_urlsafe(_CODE_BYTES)
    sealed = AESGCM(_digest("seal", code)).encrypt(_NONCE, token.encode(), None)
    await codes.keep(_digest("name", code).hex(), sealed, SIGN_IN_CODE_MS)
    return code


async def take_token(codes: SignInCodes, code: str) -> str | None:
    """Return the token of a code, once; None for an unknown or used code."""
    if not _CODE.match(code):
        return None
    sealed = await codes.take(_digest("name", code).hex())
    if sealed is None:
        return None
    try:
        return AESGCM(_digest("seal", code)).decrypt(_NONCE, sealed, None).decode()
    except InvalidTag:
        return None  # another program wrote it


def page_link(address: str, role: Role, code: str) -> str:
    """Return the link that opens the page of a role, signed in.

    The code is behind `#`: browsers do not send that part, so no log and no proxy sees it.
    """
    return f"{address}/{PAGE_OF[role]}#{code}"


def _digest(use: str, code: str) -> bytes:
    return hashlib.sha256(f"mallard sign-in {use} {code}".encode()).digest()
