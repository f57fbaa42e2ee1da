"""A node's settings: frozen data, validated when built, and where their values come from.

Flags override `MALLARD_*` variables, which override the TOML file, which overrides the defaults
below. Market policies stand under `[policy]` for all markets and under `[markets.NAME]` for one; a
flag or variable overrides them in every market. An unknown key is an error, as a misspelt limit
would otherwise be no limit.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mallard_engine.config.fields import ConfigValue, build, flat_names, unknown_key
from mallard_engine.core.bounded import ConfigError, bounded, check_bounds, described
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.policy.sandbox import SANDBOX_FIGURES, sandbox_policy
from mallard_engine.input_files import read_toml
from mallard_protocol.codes import MAX_OPEN_JOBS, MAX_STORED_BYTES, SANDBOX_MARKET

__all__ = ["ConfigError", "Settings", "load_settings"]

_PREFIX = "MALLARD_"
_MAX_PORT = 65_535
# An IPv6 address may have colons; brackets belong to URLs only.
_NOT_OF_A_HOST = re.compile(r"[\s\[\]/:@?#]")
# Variables that are not settings: data sets and the test suite.
_FOREIGN_VARIABLES = ("MALLARD_DATASETS", "MALLARD_TEST_")
# Robots need the sandbox's own settings: only its own table overrides them.
_SANDBOX_VALUES = {
    name: ConfigValue(value, f"markets.{SANDBOX_MARKET}.{name}")
    for name, value in {**SANDBOX_FIGURES, "travel_source": "straight"}.items()
}
# Fields of `Settings` that are tables in the file.
_TABLES = ("policy", "markets")


@dataclass(frozen=True, slots=True)
class Settings:
    """One node's settings. Raises `ConfigError` for values that are invalid or contradictory."""

    host: str = described(
        "127.0.0.1",
        "The address that `mallard serve` listens on. Set it to `0.0.0.0` or `::` to accept "
        "connections from other machines.",
    )
    port: int = bounded(8000, 0, _MAX_PORT, "", "The public port; 0: a free one is chosen.")
    ops_host: str | None = described(
        None, "The address of the operations port. Needs `ops_port`; none: that of `host`."
    )
    ops_port: int | None = described(
        None,
        "A separate port for health checks and `/metrics`; the public port then no longer serves "
        "`/metrics`. Set it where the public port is reachable from outside. From 0 to 65535.",
    )
    drain_linger_s: float = bounded(
        3.0,
        0,
        600,
        "s",
        "After SIGTERM the node reports that it is not ready and keeps serving for this long. Set "
        "it above your load balancer's health check interval.",
    )
    redis_url: str | None = described(
        None,
        "A Redis ≥ 7.0 or Valkey that nodes share: one server (`redis://`, `unix://`), a master "
        "with Sentinels (`redis+sentinel://HOST:PORT,…/SERVICE`) or a cluster "
        "(`redis+cluster://HOST:PORT,…`), with TLS by `rediss`; none: an embedded server in the "
        "data folder. Set it to run more than one node.",
        secret=True,
    )
    data: Path = described(
        Path(".mallard"), "The data folder: the embedded server's files and the generated secret."
    )

    public_url: str | None = described(
        None,
        "The address at which clients reach this deployment, such as `https://api.example`; links "
        "that the engine makes, such as those to proofs, start with it. None: they are paths.",
    )
    map_style_url: str | None = described(
        None,
        "A MapLibre style that the console draws below its map, such as "
        "`https://maps.example/style.json`. Operators' browsers load it, its tiles, fonts and "
        "icons from this host, and from no other. None: the map has the engine's own shapes alone.",
    )
    proofs: Path | None = described(
        None,
        "The folder of the images that drivers upload as proof; none: `proofs` in the data folder. "
        "All nodes must share it.",
    )
    proofs_bucket: str | None = described(
        None,
        "A bucket of an S3-compatible service for these images instead of a folder. Needs the "
        "extra `s3`; credentials and region come from the usual `AWS_…` variables.",
    )
    proofs_endpoint: str | None = described(
        None, "The address of that service; none: AWS. Needs `proofs_bucket`."
    )

    archive_files: Path | None = described(
        None,
        "The folder to which `mallard archive` writes every job that has ended, as JSON lines "
        "([archive](../howto/archive.md)).",
    )
    archive_postgres: str | None = described(
        None,
        "The PostgreSQL database to which `mallard archive` writes every job that has ended, as "
        "`postgresql://USER:PASSWORD@HOST/DATABASE`. Needs the extra `archive`.",
        secret=True,
    )
    archive_segment_mb: int = bounded(
        64, 1, 4096, "MB", "At this size, and each day, `mallard archive` begins another file."
    )
    archive_hold_days: float = bounded(
        7.0,
        0,
        90,
        "d",
        "How much longer than `ended_kept_days` Redis keeps an ended job that the archive "
        "lacks. Lower it if Redis is short of memory, raise it if the archive may be away longer.",
    )

    secret: str | None = described(
        None,
        "The HS256 key that verifies tokens; none: a key is made and kept in the data folder.",
        secret=True,
    )
    secret_file: Path | None = described(
        None, "A file that holds `secret`. Prefer it where the environment is visible to others."
    )
    second_secret: str | None = described(
        None,
        "A second HS256 key, valid beside the first. Set it while you replace the first.",
        secret=True,
    )
    second_secret_file: Path | None = described(None, "A file that holds `second_secret`.")
    key_set_file: Path | None = described(
        None, "A JWK set for RS256 and ES256 tokens. Set it where another service issues tokens."
    )

    allowed_origins: tuple[str, ...] = described(
        (),
        "Browser origins that may open a driver socket and call `/v1` (CORS, without "
        "credentials). Driver apps outside a browser send no origin and need no entry.",
    )
    trusted_proxies: tuple[str, ...] = described(
        (),
        "Addresses and networks (CIDR) of reverse proxies; limits per address count the client "
        "that their `X-Forwarded-For` names. Set it behind every reverse proxy.",
    )
    max_connections: int = bounded(
        0,
        0,
        1_000_000,
        "connections",
        "Client connections in total; 0: what the limit of open files allows, with a reserve for "
        "Redis. Lower it to bound memory.",
    )
    max_connections_per_address: int = bounded(
        1024,
        1,
        1_000_000,
        "connections",
        "Connections from one address that have not shown a valid token. Raise it where many "
        "drivers share an address.",
    )
    service_rate_per_s: float = bounded(
        200.0,
        0,
        1e6,
        "requests/s",
        "Requests of one order service, and of each of its tokens, to one node (a quote counts as "
        "four, each 8 KiB of a body as one more, at most eight); 0: no limit. Raise it for a "
        "service with more orders.",
    )
    service_burst: int = bounded(
        1000,
        1,
        1_000_000,
        "requests",
        "How many requests of a service may exceed that rate at once.",
    )
    driver_rate_per_s: float = bounded(
        20.0,
        0,
        1e6,
        "requests/s",
        "A driver's HTTP requests to one node; 0: no limit. Lower it against a misbehaving app.",
    )
    driver_burst: int = bounded(
        200, 1, 1_000_000, "requests", "How many requests of a driver may exceed that rate at once."
    )
    shop_rate_per_s: float = bounded(
        10.0,
        0,
        1e6,
        "requests/s",
        "Requests of one shop's counter, all its tokens together, to one node; 0: no limit. Raise "
        "it for a shop with many tills.",
    )
    shop_burst: int = bounded(
        60, 1, 1_000_000, "requests", "How many requests of a shop may exceed that rate at once."
    )
    connect_rate_per_s: float = bounded(
        1.0,
        0,
        1e6,
        "handshakes/s",
        "A driver's socket handshakes with one node; 0: no limit. Lower it against apps that "
        "reconnect in a loop.",
    )
    connect_burst: int = bounded(
        30,
        1,
        1_000_000,
        "handshakes",
        "How many handshakes of a driver may exceed that rate at once.",
    )
    address_rate_per_s: float = bounded(
        20.0,
        0,
        1e6,
        "requests/s",
        "Requests and handshakes from one address without a valid token; 0: no limit. Raise it "
        "where many clients share an address.",
    )
    address_burst: int = bounded(
        300,
        1,
        1_000_000,
        "requests",
        "How many requests from an address may exceed that rate at once.",
    )
    service_waits: int = bounded(
        100,
        1,
        1_000_000,
        "requests",
        "Requests of one service that wait (`wait_s`) at once on one node. Raise it for a service "
        "that waits for every job.",
    )
    waits: int = bounded(
        500,
        0,
        1_000_000,
        "requests",
        "Requests that wait (`wait_s`) at once on one node, in total; 0: no limit. Lower it to "
        "bound memory.",
    )
    service_open_jobs: int = bounded(
        MAX_OPEN_JOBS,
        0,
        10_000_000,
        "jobs",
        "Jobs of one service in one market that have not ended; 0: no limit. Raise it for a "
        "service that submits far ahead.",
    )
    service_stored_bytes: int = bounded(
        MAX_STORED_BYTES,
        0,
        1 << 40,
        "bytes",
        "Bytes of the jobs that one service submitted in one market within the time that ended "
        "jobs are kept (`ended_kept_days`); 0: no limit. Set it to a share of Redis's memory.",
    )
    webhook_allow: tuple[str, ...] = described(
        (),
        "Networks (CIDR) to which webhooks may go although they are not public; `http` is allowed "
        "there too. Set it for receivers inside your own network; order services choose the URLs.",
    )
    log_format: Literal["console", "json"] = described(
        "console", "`json`: one object a line. Set it where a program reads the logs."
    )
    log_level: Literal["debug", "info", "warning", "error"] = described(
        "info", "The least severe level that is logged. Lower it to `debug` to find a fault."
    )
    opening_hours: Literal["on", "off"] = described(
        "on", "`off`: the malls are always open. Set it for tests and demos."
    )
    places: Path | None = described(
        None,
        "A file or folder of markets and malls that replace the shipped ones "
        "([places](places.md)). Set it to run your own malls.",
    )

    sandbox: Literal["on", "off"] = described(
        "off",
        "`on`: there is a further market `sandbox` with robot drivers, which run inside one node "
        "([how-to](../howto/sandbox.md)). Set it for those who develop an order service or a "
        "driver app.",
    )
    sandbox_robots: int = bounded(
        8,
        3,
        100,
        "drivers",
        "How many robot drivers the sandbox has. Raise it if orders there wait for a robot.",
    )
    sandbox_orders: int = bounded(
        1,
        0,
        20,
        "jobs",
        "How many open orders the sandbox keeps for each connected driver that is no robot. 0: "
        "none. Raise it to try more offers at once.",
    )

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
        if self.has_sandbox and self.key_set_file and not self._signs_tokens:
            raise ConfigError(
                "sandbox needs a secret beside the key set: the node signs its robots' tokens",
                "sandbox",
            )
        self._check_addresses()
        if self.proofs_endpoint is not None and self.proofs_bucket is None:
            raise ConfigError("proofs_endpoint needs proofs_bucket", "proofs_endpoint")
        if self.proofs_bucket is not None and self.proofs is not None:
            raise ConfigError("proofs and proofs_bucket are both set: name one", "proofs_bucket")

    def _check_addresses(self) -> None:
        for name in ("host", "ops_host"):
            _check_host(getattr(self, name) or "", name)
        for name in ("public_url", "map_style_url", "proofs_endpoint"):
            if (url := getattr(self, name)) is not None:
                _check_url(url, name)
        if self.archive_postgres is not None:
            _check_postgres(self.archive_postgres)
        for name in ("trusted_proxies", "webhook_allow"):
            for network in getattr(self, name):
                _check_network(network, name)

    @property
    def proofs_folder(self) -> Path:
        """Where the images of proofs are."""
        return self.proofs or self.data / "proofs"

    @property
    def always_open(self) -> bool:
        """Whether the malls' opening hours are ignored."""
        return self.opening_hours == "off"

    @property
    def has_sandbox(self) -> bool:
        """Whether there is a market `sandbox`."""
        return self.sandbox == "on"

    @property
    def _signs_tokens(self) -> bool:
        return any((self.secret, self.secret_file, self.second_secret, self.second_secret_file))

    @property
    def has_token_key(self) -> bool:
        """Whether a token key is configured; if not, a secret is generated in the data folder."""
        return any((self.secret, self.secret_file, self.key_set_file))

    @property
    def binds_beyond_loopback(self) -> bool:
        """Whether `host` can be reached from other machines."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a host name, whose addresses are unknown
            return True

    def market_policy(self, market: str) -> MarketPolicy:
        """Return the policy of a market: its own, else the one for all markets."""
        if market == SANDBOX_MARKET and market not in self.markets:
            return sandbox_policy(self.policy)
        return self.markets.get(market, self.policy)


def _check_host(text: str, name: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if _NOT_OF_A_HOST.search(text):
            raise ConfigError(f"{text!r} is not an address or a host's name", name) from None


def _check_url(text: str, name: str) -> None:
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, or a port that is none
        is_one = False
    if not is_one or parts.query or parts.fragment:
        raise ConfigError(f"{text!r} is not an http or https address", name)


def _check_postgres(text: str) -> None:
    try:
        is_one = urlsplit(text).scheme in {"postgresql", "postgres"}
    except ValueError:
        is_one = False
    if not is_one:  # the text may hold a password
        raise ConfigError("archive_postgres is not a postgresql:// address", "archive_postgres")


def _check_network(text: str, name: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"{text!r} is not an address or network", name) from None


def load_settings(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Merge flags, variables, the TOML file and the defaults into settings.

    Args:
        flags: Values by flat name; None counts as not given. `config` names the TOML file.
        environ: The environment, by default the process's; an empty variable counts as not set.

    Raises:
        ConfigError: A value is invalid or unknown; the message names its origin.
    """
    over = _variables(os.environ if environ is None else environ)
    over |= {
        name: ConfigValue(value, f"--{name.replace('_', '-')}")
        for name, value in (flags or {}).items()
        if value is not None
    }
    path = over.pop("config", None)
    file = read_toml(Path(path.value)) if path else {}
    for_all = _table(file.pop("policy", {}), "policy")
    markets = _tables(file.pop("markets", {}), "markets")

    policy_names = flat_names(MarketPolicy)
    setting_names = flat_names(Settings, leave_out=_TABLES)
    for name, (_, origin) in over.items():
        if name not in (*policy_names, *setting_names):
            raise unknown_key(origin, (*policy_names, *setting_names))
    overrides = {name: value for name, value in over.items() if name in policy_names}
    settings = {name: value for name, value in over.items() if name in setting_names}
    return build(
        Settings,
        _table(file, "") | settings,
        policy=build(MarketPolicy, for_all | overrides),
        markets={
            market: build(
                MarketPolicy,
                for_all | overrides | _SANDBOX_VALUES | own
                if market == SANDBOX_MARKET
                else for_all | own | overrides,
            )
            for market, own in markets.items()
        },
    )


def _variables(environ: Mapping[str, str]) -> dict[str, ConfigValue]:
    """Return the values of the `MALLARD_*` variables by flat name."""
    return {
        name.removeprefix(_PREFIX).lower(): ConfigValue(value, name)
        for name, value in environ.items()
        if name.startswith(_PREFIX) and value and not name.startswith(_FOREIGN_VARIABLES)
    }


def _tables(section: Any, where: str) -> dict[str, dict[str, ConfigValue]]:
    if not isinstance(section, dict):
        raise ConfigError(f"{where} must be a table")
    return {name: _table(inner, f"{where}.{name}") for name, inner in section.items()}


def _table(section: Any, where: str) -> dict[str, ConfigValue]:
    """Flatten a TOML table, each value with its key as origin: `weights.idle` is `weights_idle`."""
    if not isinstance(section, dict):
        raise ConfigError(f"{where} must be a table")
    flat: dict[str, ConfigValue] = {}
    for name, value in section.items():
        place = f"{where}.{name}" if where else name
        if isinstance(value, dict):
            flat |= {f"{name}_{key}": inner for key, inner in _table(value, place).items()}
        else:
            flat[name] = ConfigValue(value, place)
    return flat
