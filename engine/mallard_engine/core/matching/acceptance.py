"""Estimates the probability that a driver accepts an offer, from the outcomes of earlier offers.

A driver's record in Redis has a history, written by the scripts that end an offer: counts of
accepted and refused (declined or expired) offers in each of twelve cells, three bands of the travel
time to the mall by four parts of the day; then the counts of declined and of expired offers. An
offer that was never acknowledged is not counted. A pair of counts that is full is halved, so old
outcomes fade. A history is a text of 26 characters, one a count; empty for a driver without one.

The estimate chains Beta priors, each the posterior mean of the wider group, as in empirical Bayes
(Efron, Morris 1975): the configured prior → the market (all drivers of the round) → the driver →
the driver in the cell. The market's difference between a cell and all cells is applied to the
driver as an odds ratio.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from mallard_engine.core.model import Term
from mallard_engine.core.policy import CostWeights

WAY_S = (300.0, 900.0)
"""The upper ends of the bands of travel time to the mall in seconds; the last band is open."""
BANDS = len(WAY_S) + 1
PARTS = 4
"""Parts of the day, of six hours each, in the mall's time zone."""
CELLS = BANDS * PARTS
LENGTH = 2 * (CELLS + 1)
FULL = 120
"""A pair of counts whose sum exceeds this is halved, so that each fits into one byte of text."""

# The weight of each prior in offers.
_MARKET_PRIOR_OFFERS = 20.0
_DRIVER_PRIOR_OFFERS = 10.0
_CELL_PRIOR_OFFERS = 10.0
_DRIVER_COUNTS_OFFERS = 20.0
_LAPSED_PRIOR = 0.5
_HOURS_A_PART = 24 // PARTS
# The size of the cache of parsed histories: a driver is ranked in many rounds between two answers.
_KNOWN_HISTORIES = 16_384


class Counts(NamedTuple):
    """A driver's parsed history; `accepted` and `refused` by band, in one part of the day."""

    accepted: tuple[int, ...]
    refused: tuple[int, ...]
    all_accepted: int
    all_refused: int
    declined: int
    lapsed: int
    # The driver's share of the market's counts: accepted and refused in all, expired and declined,
    # then accepted and refused by band; scaled down to `_DRIVER_COUNTS_OFFERS` offers.
    share: tuple[float, ...]


_NOTHING = Counts((0,) * BANDS, (0,) * BANDS, 0, 0, 0, 0, (0.0,) * (4 + 2 * BANDS))


def band_of(way_s: float) -> int:
    """Return the band of a travel time to the mall."""
    return bisect_right(WAY_S, way_s)


def cell_of(band: int, part: int) -> int:
    """Return the cell of a band in a part of the day, as the scripts number it."""
    return part * BANDS + band


def part_of_day(at_ms: int, time_zone: str) -> int:
    """Return the part of the day at `at_ms` in a time zone."""
    return _part_of_quarter(at_ms // 900_000, time_zone)


@lru_cache(maxsize=256)
def _part_of_quarter(quarter: int, time_zone: str) -> int:
    # UTC offsets are multiples of a quarter of an hour.
    return datetime.fromtimestamp(quarter * 900, ZoneInfo(time_zone)).hour // _HOURS_A_PART


@lru_cache(maxsize=_KNOWN_HISTORIES)
def read_counts(history: str, part: int) -> Counts:
    """Parse a history for one part of the day.

    A history of another length comes from another version and counts as empty.
    """
    if len(history) != LENGTH:
        return _NOTHING
    counts = history.encode("latin-1")
    first, cells = 2 * cell_of(0, part), 2 * CELLS
    taken, refused = sum(counts[:cells:2]), sum(counts[1:cells:2])
    accepted_here = tuple(counts[first : first + 2 * BANDS : 2])
    refused_here = tuple(counts[first + 1 : first + 2 * BANDS : 2])
    declined, lapsed = counts[cells:]
    one = min(1.0, _DRIVER_COUNTS_OFFERS / max(taken + refused, 1))
    share = (taken, refused, lapsed, declined, *accepted_here, *refused_here)
    return Counts(
        accepted_here,
        refused_here,
        taken,
        refused,
        declined,
        lapsed,
        tuple([one * count for count in share]),
    )


class Acceptance:
    """The estimates for one round's drivers in one part of the day.

    Args:
        histories: The histories of the round's drivers.
        part: The part of the day.
        weights: The market's weights.
        offer_s: How long an offer may be answered.
        again_s: How long after a refusal the next driver is asked.
    """

    def __init__(
        self,
        histories: Iterable[str],
        part: int,
        weights: CostWeights,
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
        if known:
            self._learn(prior, known)
        # Computed once: most drivers of a round may have no history.
        self._of_nobody = [
            Term("acceptance", self._cost_s(_NOTHING, band)) for band in range(BANDS)
        ]

    def chance(self, history: str, band: int) -> float:
        """Return the probability that the driver accepts in this band; within (0, 1)."""
        return 1 - self._miss(read_counts(history, self._part), band)

    def cost_s(self, history: str, band: int) -> float:
        """Return the weighted expected cost of a refusal in seconds.

        It is the probability of a refusal times the time until the next driver can be asked.
        """
        return self.term(history, band).seconds

    def term(self, history: str, band: int) -> Term:
        """Return that cost as a term."""
        if not history:
            return self._of_nobody[band]
        return Term("acceptance", self._cost_s(read_counts(history, self._part), band))

    def _cost_s(self, counts: Counts, band: int) -> float:
        lapsed, declined = counts.lapsed, counts.declined
        lapses = (self._lapsed * _DRIVER_PRIOR_OFFERS + lapsed) / (
            _DRIVER_PRIOR_OFFERS + lapsed + declined
        )
        refusal_s = self._decline_s + lapses * (self._lapse_s - self._decline_s)
        return self._weight * refusal_s * self._miss(counts, band)

    def _miss(self, counts: Counts, band: int) -> float:
        """Return the probability of a refusal; inlined, as a round needs it for each driver."""
        accepted, refused, taken, missed, *_ = counts
        own = (self._market * _DRIVER_PRIOR_OFFERS + taken) / (
            _DRIVER_PRIOR_OFFERS + taken + missed
        )
        odds = own / (1 - own) * self._ratios[band]
        yes, no = accepted[band], refused[band]
        return (_CELL_PRIOR_OFFERS / (1 + odds) + no) / (_CELL_PRIOR_OFFERS + yes + no)

    def _learn(self, prior: float, known: Sequence[Counts]) -> None:
        """Estimate the market's probabilities from all known histories."""
        sums = [sum(column) for column in zip(*[c.share for c in known], strict=True)]
        taken, refused, lapsed, declined, *cells = sums
        market = self._market = _posterior(prior, taken, refused)
        there = [_posterior(market, cells[band], cells[BANDS + band]) for band in range(BANDS)]
        ratios = [chance / (1 - chance) * (1 - market) / market for chance in there]
        self._ratios = tuple(ratios)
        self._lapsed = _posterior(_LAPSED_PRIOR, lapsed, declined)


def bands_of(way_s: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.intp]:
    """Return the bands of many travel times."""
    return np.digitize(way_s, WAY_S)


def _posterior(prior: float, hits: float, misses: float) -> float:
    """Return the posterior mean with the market's prior weight; within (0, 1) if the prior is."""
    return (prior * _MARKET_PRIOR_OFFERS + hits) / (_MARKET_PRIOR_OFFERS + hits + misses)
