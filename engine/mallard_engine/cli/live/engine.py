"""How a command calls a running engine: address, token, and the messages when a call fails.

The token is made with the deployment's secret, as `mallard token` makes it, or read from a file
where an issuer of its own signs the tokens.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from mallard_client.errors import ApiProblem, CallFailed, ClientError
from mallard_client.http.transport import ClientOptions
from mallard_engine.cli.options import add_settings_flags, settings_of
from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.gateway.auth.token_keys import load_token_keys, secret_path
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.input_files import quoted, read_text
from mallard_protocol.codes import Role

DEFAULT_URL: Final = "http://127.0.0.1:8000"
# A person waits for the answer.
PATIENCE: Final = ClientOptions(tries=4, within_s=10.0)
_NAME: Final = "cli"
_TTL_S: Final = 3600
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--url`, `--token-file` and the flags of the settings, which name the secret."""
    parser.add_argument(
        "--url", default=DEFAULT_URL, help=f"address of the engine (default: {DEFAULT_URL})"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file with a token; - reads standard input (default: a token made with the "
        "deployment's secret)",
    )
    add_settings_flags(parser)


def token_of(
    args: argparse.Namespace, role: Role = Role.OPERATOR, *, name: str = _NAME, ttl_s: int = _TTL_S
) -> str:
    """Return the token of the file that the flags name, or make one.

    Raises:
        ConfigError: There is no token in the file, or no secret to make one.
    """
    if args.token_file is not None:
        token = read_text(args.token_file).strip()
        if not token or len(token.split()) > 1 or not token.isascii():
            raise ConfigError(f"{args.token_file}: there is no token in it")
        return token
    return tokens_of(settings_of(args)).mint(name, role, ttl_s=ttl_s)


def tokens_of(settings: Settings) -> Tokens:
    """Return the signer of tokens. It creates no secret: no engine would accept its tokens.

    Raises:
        ConfigError: There is no secret.
    """
    if not settings.has_token_key and not secret_path(settings.data).exists():
        raise ConfigError(
            f"no engine has run with the data folder {settings.data}: run `mallard serve` there "
            "first, or name its folder with --data, or set MALLARD_SECRET"
        )
    return Tokens(load_token_keys(settings))


def engine_url(text: str) -> str:
    """Check the address of an engine. Raises `ConfigError`."""
    if not is_engine_url(text):
        raise ConfigError(f"{quoted(text)} is not the address of an engine: http://HOST:PORT")
    return text.rstrip("/")


def is_engine_url(text: str) -> bool:
    """Whether this may be the address of an engine's HTTP API."""
    try:
        url = urlsplit(text)
        is_http = url.scheme in {"http", "https"} and url.port != 0
    except ValueError:
        return False
    has_more = bool(url.query or url.fragment) or any(map(str.isspace, text))
    return is_http and bool(url.hostname) and not has_more


def call_engine(
    args: argparse.Namespace,
    calls: Callable[[str, str], int],
    *,
    role: Role = Role.OPERATOR,
    name: str = _NAME,
    ttl_s: int = _TTL_S,
) -> int:
    """Call the engine that the flags name; return the exit status, or print why a call failed.

    Args:
        args: The flags of `add_engine_flags`.
        calls: Makes the calls with the engine's address and a token; returns the exit status.
        role: The role of a token that is made.
        name: The subject of a token that is made.
        ttl_s: How long a token that is made is valid, in seconds.

    Returns:
        2 for a refusal that the caller can mend; 1 if no engine answers or it cannot answer now.

    Raises:
        ConfigError: The address is invalid, or there is no token.
    """
    url = engine_url(args.url)
    token = token_of(args, role, name=name, ttl_s=ttl_s)
    try:
        return calls(url, token)
    except ApiProblem as problem:
        return failed(url, problem)
    except CallFailed as failure:
        print(f"mallard: no engine answers at {url}: {failure}", file=sys.stderr)
        return 1


def failed(url: str, error: ClientError) -> int:
    """Print what an engine refused; return the exit status."""
    if not isinstance(error, ApiProblem):
        print(f"mallard: {url}: {error}", file=sys.stderr)
        return 1
    fields = "".join(f"; {it.pointer}: {it.detail}" for it in error.errors)
    print(f"mallard: {url}: {error}{fields}", file=sys.stderr)
    is_ours = _BAD_REQUEST <= error.status < _SERVER_ERROR and error.status != _TOO_MANY
    return 2 if is_ours and error.code else 1
