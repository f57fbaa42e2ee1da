"""How likely a driver takes an offer, from how its former offers have ended.

A driver's record in the store carries counts, kept by the scripts that end an offer: accepted and
refused (declined, or let lapse) in each of twelve cells, three bands of the way to the mall by four
parts of the day; and last, declined and lapsed of all refusals. An offer that was never
acknowledged says nothing of its driver and is not counted. A pair of counts that is full is halved,
so what is long past fades. They are text of 26 characters, each a count: whoever has no history has
none of it.

From counts to a probability by Beta priors, each the posterior mean of the wider one, as in
empirical Bayes (Efron, Morris 1975): the configured prior → the market, which is the drivers of the
round together → the driver → the driver in the cell. What the market's cell differs from the market
is carried over to the driver as an odds ratio.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

import numpy as np

WAY_S = (300.0, 900.0)
"""Where a band of the way to the mall ends, in seconds of travel; the last has no end."""
BANDS = len(WAY_S) + 1
PARTS = 4
"""Parts of the day, of six hours each, by the mall's own clock."""
CELLS = BANDS * PARTS
LENGTH = 2 * (CELLS + 1)
FULL = 120
"""A pair of counts that comes above this is halved: each fits into one byte of text."""

# How many offers the wider figure weighs against the narrower one's own.
_MARKET_PRIOR_OFFERS = 20.0
_DRIVER_PRIOR_OFFERS = 10.0
_CELL_PRIOR_OFFERS = 10.0
_DRIVER_COUNTS_OFFERS = 20.0
_LAPSED_PRIOR = 0.5
_HOURS_A_PART = 24 // PARTS
# Of how many drivers the counts are kept read, as a driver is looked at in many rounds between two
# answers.
_KNOWN_HISTORIES = 16_384


class AcceptanceWeights(Protocol):
    """What the estimate needs of a market's weights; see ``CostWeights`` for units and bounds."""

    @property
    def acceptance(self) -> float:
        """What a second that a refusal is expected to cost weighs; 0: nothing is estimated."""
        ...

    @property
    def acceptance_prior(self) -> float:
        """How likely an offer is taken where nothing is known."""
        ...

    @property
    def decline_after_s(self) -> float:
        """How long a driver looks at an offer that it declines."""
        ...


class Counts(NamedTuple):
    """A driver's history. By band, in one part of the day: accepted and refused."""

    accepted: tuple[int, ...]
    refused: tuple[int, ...]
    all_accepted: int
    all_refused: int
    declined: int
    lapsed: int
    # What one of its offers counts in the market's mean: nobody counts more than so many.
    share: float


_NOTHING = Counts((0,) * BANDS, (0,) * BANDS, 0, 0, 0, 0, 0.0)


def band_of(way_s: float) -> int:
    """The band of a way to the mall."""
    return bisect_right(WAY_S, way_s)


def cell_of(band: int, part: int) -> int:
    """The cell of a band in a part of the day, as the scripts count it."""
    return part * BANDS + band


def part_of_day(at_ms: int, time_zone: str) -> int:
    """The part of the day at that time, by the clocks of a time zone."""
    return _part_of_quarter(at_ms // 900_000, time_zone)


@lru_cache(maxsize=256)
def _part_of_quarter(quarter: int, time_zone: str) -> int:
    # No zone's offset is finer than a quarter of an hour.
    return datetime.fromtimestamp(quarter * 900, ZoneInfo(time_zone)).hour // _HOURS_A_PART


@lru_cache(maxsize=_KNOWN_HISTORIES)
def read_counts(history: str, part: int) -> Counts:
    """The counts of a history, with the cells of one part of the day. One of another length, from
    another version, is none."""
    if len(history) != LENGTH:
        return _NOTHING
    counts = history.encode("latin-1")
    first, cells = 2 * cell_of(0, part), 2 * CELLS
    offers = sum(counts[:cells])
    return Counts(
        tuple(counts[first : first + 2 * BANDS : 2]),
        tuple(counts[first + 1 : first + 2 * BANDS : 2]),
        sum(counts[:cells:2]),
        sum(counts[1:cells:2]),
        counts[cells],
        counts[cells + 1],
        min(1.0, _DRIVER_COUNTS_OFFERS / offers) if offers else 0.0,
    )


class Acceptance:
    """The estimate for the drivers of one round, in one part of the day.

    ``offer_s``: how long an offer may be answered; ``again_s``: how long after a refusal the next
    driver is asked.
    """

    def __init__(
        self,
        histories: Iterable[str],
        part: int,
        weights: AcceptanceWeights,
        *,
        offer_s: float,
        again_s: float = 0.0,
    ) -> None:
        self._part = part
        self._weight = weights.acceptance
        self._decline_s = min(weights.decline_after_s, offer_s) + again_s
        self._lapse_s = offer_s + again_s
        prior = weights.acceptance_prior
        known = [read_counts(history, part) for history in histories if history]
        self._market, self._lapsed, self._ratios = prior, _LAPSED_PRIOR, (1.0,) * BANDS
        self._of_nobody: list[float] = []
        if known:
            self._learn(prior, known)

    def chance(self, history: str, band: int) -> float:
        """How likely the driver takes an offer at the end of such a way; within (0, 1)."""
        return self._chance(read_counts(history, self._part), band)

    def cost_s(self, history: str, band: int) -> float:
        """What a refusal of the driver is expected to cost, weighted: the chance of one times the
        seconds until the next driver can be asked."""
        if not history:
            if not self._of_nobody:
                self._of_nobody = [self._cost_s(_NOTHING, it) for it in range(BANDS)]
            return self._of_nobody[band]
        return self._cost_s(read_counts(history, self._part), band)

    def _cost_s(self, counts: Counts, band: int) -> float:
        lapsed = _posterior(self._lapsed, _DRIVER_PRIOR_OFFERS, counts.lapsed, counts.declined)
        refusal_s = lapsed * self._lapse_s + (1 - lapsed) * self._decline_s
        return self._weight * refusal_s * (1 - self._chance(counts, band))

    def _chance(self, counts: Counts, band: int) -> float:
        own = _posterior(
            self._market, _DRIVER_PRIOR_OFFERS, counts.all_accepted, counts.all_refused
        )
        odds = own / (1 - own) * self._ratios[band]
        in_cell = odds / (1 + odds)
        return _posterior(in_cell, _CELL_PRIOR_OFFERS, counts.accepted[band], counts.refused[band])

    def _learn(self, prior: float, known: Sequence[Counts]) -> None:
        """The market's own figures: all of its drivers as one."""
        taken = sum([c.share * c.all_accepted for c in known])
        refused = sum([c.share * c.all_refused for c in known])
        market = self._market = _posterior(prior, _MARKET_PRIOR_OFFERS, taken, refused)
        ratios = []
        for band in range(BANDS):
            taken = sum([c.share * c.accepted[band] for c in known])
            refused = sum([c.share * c.refused[band] for c in known])
            there = _posterior(market, _MARKET_PRIOR_OFFERS, taken, refused)
            ratios.append(there / (1 - there) / (market / (1 - market)))
        self._ratios = tuple(ratios)
        lapsed = sum([c.share * c.lapsed for c in known])
        declined = sum([c.share * c.declined for c in known])
        self._lapsed = _posterior(_LAPSED_PRIOR, _MARKET_PRIOR_OFFERS, lapsed, declined)


def bands_of(way_s: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.intp]:
    """The bands of many ways."""
    return np.digitize(way_s, WAY_S)


def _posterior(prior: float, weight: float, hits: float, misses: float) -> float:
    """The mean of a Beta distribution whose prior counts as so many observations: within (0, 1)
    if the prior is."""
    return (prior * weight + hits) / (weight + hits + misses)
