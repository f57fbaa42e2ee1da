"""How a page signs in: a one-time code becomes a token."""

from typing import Annotated

from msgspec import Meta, Struct

from mallard_protocol.instants import Instant

# In the address behind `#`; the look-ahead as in `fields.ID_PATTERN`.
CODE_PATTERN = r"^[A-Za-z0-9_-]{24}$(?!\n)"
SIGN_IN_CODE_MS = 300_000
"""How long a code can be exchanged."""

SignInCode = Annotated[
    str, Meta(pattern=CODE_PATTERN, description="24 of A-Z a-z 0-9 _ -, good once, for 5 minutes")
]


class SessionExchange(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/session/exchange``."""

    code: SignInCode


class Session(Struct, frozen=True):
    """The token that a code stood for. Keep it in memory; send it as a bearer."""

    token: str
    expires_at: Instant
