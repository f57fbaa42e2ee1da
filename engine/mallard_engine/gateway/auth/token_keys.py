"""Loads the keys that sign and verify tokens: secrets, and a set of public keys."""

import codecs
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.input_files import parse_json, read_text

# RFC 7518, section 3.2: a key is at least as long as the hash.
MIN_SECRET_BYTES: Final = 32
# RFC 7518, section 3.3.
MIN_RSA_BITS: Final = 2048
_ALGORITHM_OF: Final = {"RSA": "RS256", "EC": "ES256"}
# RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1.
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SECRET_FILE: Final = "secret"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of the key set. `id` is its `kid`, None without one."""

    id: str | None
    algorithm: str
    key: jwt.PyJWK


@dataclass(frozen=True, slots=True, repr=False)
class TokenKeys:
    """The keys that verify tokens. The first secret also signs the engine's own.

    A secret verifies only HS256 and a public key only its own algorithm, so that a public key can
    never be used as a secret.
    """

    secrets: tuple[bytes, ...] = ()
    public: tuple[PublicKey, ...] = ()

    def candidates(self, algorithm: str, key_id: str | None) -> Iterator[bytes | jwt.PyJWK]:
        """Yield the keys that may have signed a token with this algorithm and `kid`."""
        if algorithm == "HS256":
            yield from self.secrets
        for key in self.public:
            if key.algorithm == algorithm and key_id in {None, key.id}:
                yield key.key


def load_token_keys(settings: Settings) -> TokenKeys:
    """Load the configured keys; without any, the data folder's secret, created on first use.

    Raises:
        ConfigError: a key cannot be used.
    """
    found = [
        secret
        for name, text, file in (
            ("secret", settings.secret, settings.secret_file),
            ("second_secret", settings.second_secret, settings.second_secret_file),
        )
        if (secret := _secret(name, text, file)) is not None
    ]
    if not settings.has_token_key:
        found.insert(0, stored_secret(settings.data))
    public = _read_key_set(settings.key_set_file) if settings.key_set_file else ()
    return TokenKeys(tuple(found), public)


def secret_path(folder: Path) -> Path:
    """Return the path of the secret that a node creates in its data folder."""
    return folder / _SECRET_FILE


def stored_secret(folder: Path) -> bytes:
    """Return the secret of a data folder (file `secret`, mode 0600), creating it if missing.

    The file is created atomically. If two processes create it at once, both use the first.
    """
    path = secret_path(folder)
    try:
        if not path.exists():
            _create_secret(path)
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be used: {error.strerror}") from error
    return _read_secret(path)


def _create_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{_SECRET_FILE}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(MIN_SECRET_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another process created it first
    finally:
        draft.unlink()


def _secret(name: str, text: str | None, file: Path | None) -> bytes | None:
    if text is None and file is None:
        return None
    secret = _read_secret(file) if file is not None else (text or "").encode()
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"{file or name}: a secret of {len(secret)} bytes can be guessed; HS256 needs "
            f"{MIN_SECRET_BYTES} bytes (RFC 7518, 3.2): openssl rand -hex 32"
        )
    return secret


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().removeprefix(codecs.BOM_UTF8).strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if not secret:
        raise ConfigError(f"{path}: holds no secret")
    return secret


def _read_key_set(path: Path) -> tuple[PublicKey, ...]:
    """Read a JWK set (RFC 7517): RSA keys for RS256 and P-256 keys for ES256, public parts only."""
    try:
        entries = parse_json(read_text(path), str(path))["keys"]
        named = [(_name_of(entry, place), entry) for place, entry in enumerate(entries)]
    except (LookupError, TypeError):
        raise ConfigError(f'{path}: not a JWK set: {{"keys": [...]}}') from None
    if not named:
        raise ConfigError(f"{path}: the key set is empty")
    keys = []
    for name, entry in named:
        try:
            keys.append(_public_key(entry))
        except _UnusableKey as error:
            raise ConfigError(f"{path}: {name} {error}") from None
    ids = [key.id for key in keys if key.id is not None]
    if twice := next((key_id for key_id in ids if ids.count(key_id) > 1), None):
        raise ConfigError(f"{path}: kid {twice!r} occurs twice")
    return tuple(keys)


class _UnusableKey(Exception):
    """Why a key of the set cannot be used. The text follows the key's name and quotes nothing."""


def _name_of(entry: Any, place: int) -> str:
    key_id = entry.get("kid") if isinstance(entry, dict) else None
    return f"key {key_id!r}" if isinstance(key_id, str) else f"keys[{place}]"


def _public_key(entry: Any) -> PublicKey:
    """Check and parse a key. It is checked first, because errors of the parser quote it."""
    if not isinstance(entry, dict):
        raise _UnusableKey("is not an object")
    kind = entry.get("kty")
    if kind not in _ALGORITHM_OF:
        raise _UnusableKey("is neither RSA nor EC: a key set holds public keys alone")
    if _PRIVATE_MEMBERS & entry.keys():
        raise _UnusableKey("is a private key: keep it where tokens are signed")
    algorithm = _ALGORITHM_OF[kind]
    if kind == "EC" and entry.get("crv") != "P-256":
        raise _UnusableKey("is not of the curve P-256, which ES256 needs (RFC 7518, 3.4)")
    if entry.get("alg", algorithm) != algorithm:
        raise _UnusableKey(f"names alg {entry['alg']!r}: {kind} keys are for {algorithm}")
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        raise _UnusableKey("is not for checking signatures (use, key_ops)")
    try:
        key = jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, LookupError):
        raise _UnusableKey(f"is not a public {kind} key") from None
    if kind == "RSA" and key.key.key_size < MIN_RSA_BITS:
        raise _UnusableKey(
            f"has {key.key.key_size} bits; RS256 needs {MIN_RSA_BITS} (RFC 7518, 3.3)"
        )
    return PublicKey(entry.get("kid"), algorithm, key)
