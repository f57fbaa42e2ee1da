"""The keys that tokens are signed and checked with: secrets, and a set of public keys."""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt

from engine.config import ConfigError, Settings

# RFC 7518, section 3.2: a key as long as the hash at the least.
MIN_SECRET_BYTES: Final = 32
_PUBLIC_KEY_ALGORITHMS: Final = frozenset({"RS256", "ES256"})
_MADE_SECRET: Final = "secret"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of the key set. ``id`` is its ``kid``; None: it has none."""

    id: str | None
    algorithm: str
    key: jwt.PyJWK


@dataclass(frozen=True, slots=True, repr=False)
class TokenKeys:
    """What tokens are checked against: the first secret also signs ours.

    A secret verifies HS256 alone and a public key its own algorithm alone, so that a public key
    can never pass for a secret.
    """

    secrets: tuple[bytes, ...] = ()
    public: tuple[PublicKey, ...] = ()

    def candidates(self, algorithm: str, key_id: str | None) -> Iterator[bytes | jwt.PyJWK]:
        """The keys that a token of this algorithm and ``kid`` may have been signed with."""
        if algorithm == "HS256":
            yield from self.secrets
        for key in self.public:
            if key.algorithm == algorithm and key_id in {None, key.id}:
                yield key.key


def load_token_keys(settings: Settings) -> TokenKeys:
    """Read the configured keys; without any, the data folder's own secret, made on first use.

    Raises ``ConfigError`` for keys that cannot be used.
    """
    found = [
        secret
        for text, file in (
            (settings.secret, settings.secret_file),
            (settings.second_secret, settings.second_secret_file),
        )
        if (secret := _secret(text, file)) is not None
    ]
    if not settings.has_token_key:
        found.insert(0, kept_secret(settings.data))
    if settings.binds_beyond_loopback and any(len(it) < MIN_SECRET_BYTES for it in found):
        raise ConfigError(
            f"a secret of under {MIN_SECRET_BYTES} bytes can be guessed, so it is for loopback "
            "alone; make one with: openssl rand -hex 32"
        )
    public = _read_key_set(settings.key_set_file) if settings.key_set_file else ()
    return TokenKeys(tuple(found), public)


def kept_secret(folder: Path) -> bytes:
    """The secret of a data folder (file ``secret``, mode 0600), made when there is none yet.

    It appears complete or not at all; of two processes that make one at once, both use the first.
    """
    path = folder / _MADE_SECRET
    try:
        if not path.exists():
            _make_secret(path)
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be used: {error.strerror}") from error
    return _read_secret(path)


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{_MADE_SECRET}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(MIN_SECRET_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another process was first: its secret is the folder's
    finally:
        draft.unlink()


def _secret(text: str | None, file: Path | None) -> bytes | None:
    if text is not None:
        return text.encode()
    return None if file is None else _read_secret(file)


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if not secret:
        raise ConfigError(f"{path}: holds no secret")
    return secret


def _read_key_set(path: Path) -> tuple[PublicKey, ...]:
    """Read a JWK set (RFC 7517): RSA keys for RS256 and P-256 keys for ES256, public parts only."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = tuple(_public_key(entry) for entry in entries)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ConfigError(f"{path}: not a set of public RSA or P-256 keys: {error}") from error
    if not keys:
        raise ConfigError(f"{path}: the key set is empty")
    return keys


def _public_key(entry: dict[str, str]) -> PublicKey:
    # Checked before the key is read: an error about an unread key would quote it.
    if entry.get("kty") not in {"RSA", "EC"} or "d" in entry:
        raise ValueError("a key is not public, or neither RSA nor EC")
    key = jwt.PyJWK(entry)
    if key.algorithm_name not in _PUBLIC_KEY_ALGORITHMS:
        raise ValueError(f"{key.algorithm_name} is not RS256 or ES256")
    return PublicKey(key.key_id, key.algorithm_name, key)
