"""Where a market's travel times come from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mallard_engine.core.bounded import ConfigError, bounded, check_bounds, described

_HTTP_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_PROFILE = re.compile(r"[A-Za-z0-9_-]+")


def _is_http_address(text: str) -> bool:
    try:
        urlsplit(text).port  # noqa: B018 - raises for an open bracket, or a port that is none
    except ValueError:
        return False
    return _HTTP_ADDRESS.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class TravelSource:
    """Where travel times come from. The straight-line estimate replaces missing answers."""

    source: Literal["straight", "roads", "osrm"] = described(
        "straight",
        "`straight`: great circle × `circuity` ÷ speed; `roads`: a road network in the node's own "
        "process; `osrm`: an OSRM server. Use roads where rivers or motorways make straight lines "
        "misleading.",
    )
    roads: Path | None = described(
        None, "The road network file, made by `mallard roads build`. Needed by source `roads`."
    )
    osrm_url: str | None = described(
        None, "The address of the OSRM server (`http://…`). Needed by source `osrm`."
    )
    osrm_profile: str = described(
        "driving",
        "The profile in requests to the OSRM server. Set it to the profile that the "
        "server was built with.",
    )
    osrm_table_size: int = bounded(
        100,
        2,
        100_000,
        "coordinates",
        "Coordinates in one OSRM request. Keep it at the server's `--max-table-size`.",
    )
    reach_m: float = bounded(
        300.0,
        1,
        10_000,
        "m",
        "A place farther than this from every road is off the network and uses the straight line. "
        "Raise it where large car parks are not mapped.",
    )
    budget_ms: int = bounded(
        100,
        1,
        10_000,
        "ms",
        "How long a request to the OSRM server may take. Raise it only if the server is healthy "
        "and slower than that: a match waits for it.",
    )
    failures: int = bounded(
        3,
        1,
        1_000,
        "",
        "After this many failed requests in a row the source is not asked for `travel.rest_s`. "
        "Raise it for a source that fails now and then.",
    )
    rest_s: float = bounded(
        10.0,
        0.1,
        3_600,
        "s",
        "How long a failing source is not asked. Raise it if the source takes longer to recover.",
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.source == "roads" and self.roads is None:
            raise ConfigError("travel source is roads: name their file in travel.roads", "source")
        if self.source == "osrm" and self.osrm_url is None:
            raise ConfigError(
                "travel source is osrm: name its address in travel.osrm_url", "source"
            )
        if self.osrm_url is not None and not _is_http_address(self.osrm_url):
            raise ConfigError(f"osrm_url is {self.osrm_url!r}, not an http:// address", "osrm_url")
        if not _PROFILE.fullmatch(self.osrm_profile):
            raise ConfigError(f"osrm_profile is {self.osrm_profile!r}, not a word", "osrm_profile")
