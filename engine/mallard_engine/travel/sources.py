"""Builds the sources of travel times that a node's markets configure."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.core.matching.travel_time import StraightLine, TravelTime
from mallard_engine.core.places.mall import Market
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.metrics import Metrics
from mallard_engine.travel.breaker import Breaker
from mallard_engine.travel.counts import Counts
from mallard_engine.travel.fallback import WithFallback
from mallard_engine.travel.network import RoadsError
from mallard_engine.travel.network_file import read_network
from mallard_engine.travel.osrm import Osrm
from mallard_engine.travel.roads import RoadGraph, Roads
from mallard_engine.travel.table_service import InProcess, OverNetwork

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TravelSources:
    """Sources by market: `now` is synchronous, `ahead` fetches matrices before a ranking.

    A market without a source uses the straight-line estimate.
    """

    now: dict[str, TravelTime] = field(default_factory=dict)
    ahead: dict[str, InProcess | OverNetwork] = field(default_factory=dict)

    async def close(self) -> None:
        """Close all connections."""
        for source in self.ahead.values():
            await source.close()


def travel_sources(settings: Settings, places: Places, metrics: Metrics) -> TravelSources:
    """Build the markets' sources.

    Raises:
        ConfigError: A road network file cannot be used.
    """
    sources = TravelSources()
    graphs: dict[Path, RoadGraph] = {}
    for market in places.markets.values():
        policy = settings.market_policy(market.id)
        counts = Counts(metrics, market.id, policy.travel.source)
        if policy.travel.source == "roads" and policy.travel.roads is not None:
            path = policy.travel.roads
            if path not in graphs:
                graphs[path] = _load(path)
            roads = Roads(
                graphs[path],
                reach_m=policy.travel.reach_m,
                speed=policy.speeds(market.time_zone),
            )
            source = WithFallback(roads, StraightLine.of(policy, market.time_zone), counts)
            sources.now[market.id] = source
            sources.ahead[market.id] = InProcess(source)
        elif policy.travel.source == "osrm" and policy.travel.osrm_url is not None:
            sources.ahead[market.id] = _osrm(policy, policy.travel.osrm_url, market, counts)
    return sources


def _load(path: Path) -> RoadGraph:
    started = time.perf_counter()
    try:
        network, about = read_network(path)
        graph = RoadGraph(network)
    except RoadsError as error:
        raise ConfigError(f"travel roads: {error}") from error
    _log.info(
        "roads loaded",
        file=str(path),
        source=about.source,
        dated=about.dated,
        junctions=len(network.junction_lat),
        took_s=round(time.perf_counter() - started, 3),
    )
    return graph


def _osrm(policy: MarketPolicy, url: str, market: Market, counts: Counts) -> OverNetwork:
    travel = policy.travel
    service = Osrm(
        url, profile=travel.osrm_profile, most=travel.osrm_table_size, reach_m=travel.reach_m
    )
    return OverNetwork(
        service,
        StraightLine.of(policy, market.time_zone),
        Breaker(travel.failures, travel.rest_s, time.monotonic),
        counts,
        budget_s=travel.budget_ms / 1000,
        speed=policy.speeds(market.time_zone),
        clock=time.perf_counter,
    )
