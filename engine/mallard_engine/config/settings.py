"""The engine's settings, as frozen data that is checked when it is built.

A value comes from a flag, else from a `MALLARD_*` variable, else from the TOML file, else it is the
default below. Figures of the markets stand under `[policy]` for all of them and under
`[markets.NAME]` for one; a flag or a variable overrides them in every market. An unknown key is an
error: a misspelt limit would otherwise be no limit.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mallard_engine.config.fields import (
    ConfigError,
    Given,
    build,
    check_bounds,
    figure,
    flat_names,
    unknown_key,
)
from mallard_engine.config.market_policy import MarketPolicy
from mallard_engine.input_files import read_toml
from mallard_protocol.codes import MAX_OPEN_JOBS, MAX_STORED_BYTES

__all__ = ["ConfigError", "Settings", "load_settings"]

_PREFIX = "MALLARD_"
_MAX_PORT = 65_535
# Variables that are not the engine's settings: outside data, the tests' server.
_FOREIGN_VARIABLES = ("MALLARD_DATASETS", "MALLARD_TEST_")
# Fields of `Settings` that are tables of their own in the file.
_TABLES = ("policy", "markets")


@dataclass(frozen=True, slots=True)
class Settings:
    """One node's settings. Raises `ConfigError` for values that cannot be, alone or together."""

    host: str = "127.0.0.1"
    port: int = figure(8000, 0, _MAX_PORT)
    # Where `/metrics` is served instead, and health besides; None: on the public port.
    ops_host: str | None = None
    ops_port: int | None = None
    # After the first signal: unready, but serving, for so long.
    drain_linger_s: float = figure(3.0, 0, 600)
    # A Redis shared by the nodes; None: an embedded server in the data folder.
    redis_url: str | None = field(default=None, repr=False)
    data: Path = Path(".mallard")

    # Token keys: a secret (or a file that holds it) for HS256, a key set (JWKS) for RS256/ES256.
    # A second secret is valid beside the first while one replaces the other.
    secret: str | None = field(default=None, repr=False)
    secret_file: Path | None = None
    second_secret: str | None = field(default=None, repr=False)
    second_secret_file: Path | None = None
    key_set_file: Path | None = None

    # Browser origins that may open a driver socket; phones send none.
    allowed_origins: tuple[str, ...] = ()
    # Addresses and networks of reverse proxies, whose `X-Forwarded-For` names the client.
    trusted_proxies: tuple[str, ...] = ()
    # Client connections in all (0: as the limit of open files allows) and, per address, of clients
    # that have shown no good token.
    max_connections: int = figure(0, 0, 1_000_000)
    max_connections_per_address: int = figure(1024, 1, 1_000_000)
    # Rate limits of one node: so many a second, and up to a burst at once. A rate of 0: no limit.
    # A service has this for all its tokens together, and each token the same.
    service_rate_per_s: float = figure(200.0, 0, 1e6)
    service_burst: int = figure(1000, 1, 1_000_000)
    # A driver's calls over HTTP, and its handshakes.
    driver_rate_per_s: float = figure(20.0, 0, 1e6)
    driver_burst: int = figure(200, 1, 1_000_000)
    connect_rate_per_s: float = figure(1.0, 0, 1e6)
    connect_burst: int = figure(30, 1, 1_000_000)
    # What comes from one address without a good token.
    address_rate_per_s: float = figure(20.0, 0, 1e6)
    address_burst: int = figure(300, 1, 1_000_000)
    # Requests that wait (`wait_s`) at once, of one service and in all. 0 in all: no limit.
    service_waits: int = figure(100, 1, 1_000_000)
    waits: int = figure(500, 0, 1_000_000)
    # What one service may have in one market; 0: no limit. The bytes are those of the jobs that it
    # submitted within the time that an ended job is kept.
    service_open_jobs: int = figure(MAX_OPEN_JOBS, 0, 10_000_000)
    service_stored_bytes: int = figure(MAX_STORED_BYTES, 0, 1 << 40)
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    opening_hours: Literal["on", "off"] = "on"
    # A file or a folder of markets and malls that replace those of the package.
    places: Path | None = None

    policy: MarketPolicy = field(default_factory=MarketPolicy)
    markets: Mapping[str, MarketPolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.secret and self.secret_file:
            raise ConfigError("secret and secret_file are both set: name one")
        if self.second_secret and self.second_secret_file:
            raise ConfigError("second_secret and second_secret_file are both set: name one")
        if self.ops_port is None and self.ops_host is not None:
            raise ConfigError("ops_host needs ops_port", "ops_host")
        if self.ops_port is not None and not 0 <= self.ops_port <= _MAX_PORT:
            raise ConfigError(f"ops_port is {self.ops_port}, not a port", "ops_port")
        for network in self.trusted_proxies:
            _check_network(network)

    @property
    def always_open(self) -> bool:
        """Whether the malls' opening hours are ignored."""
        return self.opening_hours == "off"

    @property
    def has_token_key(self) -> bool:
        """Whether a token key is configured; without one, a secret is made in the data folder."""
        return any((self.secret, self.secret_file, self.key_set_file))

    @property
    def binds_beyond_loopback(self) -> bool:
        """Whether `host` can be reached from other machines."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # another name: its addresses are not ours to vouch for
            return True

    def market_policy(self, market: str) -> MarketPolicy:
        """The figures of a market: its own, else those of all."""
        return self.markets.get(market, self.policy)


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"{text!r} is no address or network", "trusted_proxies") from None


def load_settings(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Merge flags, variables, the TOML file and the defaults into settings.

    `flags` are by setting or figure name (`config` names the TOML file); one that is None was not
    given. `environ` is the process's by default; an empty variable counts as not set. Raises
    `ConfigError` with a message for the person who wrote the value.
    """
    over = _variables(os.environ if environ is None else environ)
    over |= {
        name: Given(value, f"--{name.replace('_', '-')}")
        for name, value in (flags or {}).items()
        if value is not None
    }
    path = over.pop("config", None)
    file = read_toml(Path(path.value)) if path else {}
    for_all = _table(file.pop("policy", {}), "policy")
    markets = _tables(file.pop("markets", {}), "markets")

    figure_names = flat_names(MarketPolicy)
    setting_names = flat_names(Settings, leave_out=_TABLES)
    for name, (_, origin) in over.items():
        if name not in (*figure_names, *setting_names):
            raise unknown_key(origin, (*figure_names, *setting_names))
    figures = {name: given for name, given in over.items() if name in figure_names}
    settings = {name: given for name, given in over.items() if name in setting_names}
    return build(
        Settings,
        _table(file, "") | settings,
        policy=build(MarketPolicy, for_all | figures),
        markets={
            market: build(MarketPolicy, for_all | own | figures) for market, own in markets.items()
        },
    )


def _variables(environ: Mapping[str, str]) -> dict[str, Given]:
    """What the variables set, by flat name."""
    return {
        name.removeprefix(_PREFIX).lower(): Given(value, name)
        for name, value in environ.items()
        if name.startswith(_PREFIX) and value and not name.startswith(_FOREIGN_VARIABLES)
    }


def _tables(section: Any, where: str) -> dict[str, dict[str, Given]]:
    if not isinstance(section, dict):
        raise ConfigError(f"{where} must be a table")
    return {name: _table(inner, f"{where}.{name}") for name, inner in section.items()}


def _table(section: Any, where: str) -> dict[str, Given]:
    """A TOML table by flat name, each value with its place: `weights.idle` is `weights_idle`."""
    if not isinstance(section, dict):
        raise ConfigError(f"{where} must be a table")
    flat: dict[str, Given] = {}
    for name, value in section.items():
        place = f"{where}.{name}" if where else name
        if isinstance(value, dict):
            flat |= {f"{name}_{key}": given for key, given in _table(value, place).items()}
        else:
            flat[name] = Given(value, place)
    return flat
