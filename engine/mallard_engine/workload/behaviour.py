"""The behaviour of simulated drivers: answers to offers, steps of a job, and routes.

Pure decisions on values and a random generator: no clock, no socket and no task. Three kinds of
drivers are built on it (ADR 0058): `fleet_driver` on the real client, `load_tests.app_driver` on
frames, and `mallard_engine.simulation.shift_driver` on the dispatcher in virtual time.
"""

import math
import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from mallard_engine.workload.road import Point, moved
from mallard_protocol.lifecycle import JobState, Step

JOB_STEPS: Final = (Step.AT_MALL, Step.PICKED_UP, Step.DELIVERED)
"""The steps of a job that goes as planned, in order."""
STEPS_DONE: Final = {JobState.ASSIGNED: 0, JobState.AT_MALL: 1, JobState.PICKED_UP: 2}
"""How many of `JOB_STEPS` are done, by the state of a job that a driver works on."""
TO_COLLECT: Final = frozenset({JobState.ASSIGNED, JobState.AT_MALL})
"""The states of a job whose parcels are still at the mall."""

_SPEED_MPS: Final = 8.0
_MAX_STRIDE_S: Final = 60.0
_STRAYS_DEG: Final = 0.02


class Answer(Enum):
    """What a driver does with an offer."""

    ACCEPT = auto()
    DECLINE = auto()
    LAPSE = auto()
    """Acknowledge it and not answer."""
    VANISH = auto()
    """Lose the socket before acknowledging it."""


@dataclass(frozen=True, slots=True)
class AnswerShares:
    """The shares of offers, 0 to 1, that are not accepted; their sum is at most 1."""

    decline: float = 0.0
    lapse: float = 0.0
    vanish: float = 0.0

    def draw(self, rng: random.Random) -> Answer:
        """Draw the answer to an offer, with one random number."""
        share = rng.random()
        if share < self.vanish:
            return Answer.VANISH
        if share < self.vanish + self.lapse:
            return Answer.LAPSE
        if share < self.vanish + self.lapse + self.decline:
            return Answer.DECLINE
        return Answer.ACCEPT


USUAL_ANSWERS: Final = AnswerShares(decline=0.10, lapse=0.05)
"""The answers of drivers of whom nothing else is said, in the demo and in load tests."""


def draw_by_acceptance(acceptance: float, rng: random.Random) -> Answer:
    """Draw the answer of a driver who accepts a share of offers and ignores half of the others.

    A second random number is drawn only for an offer that is not accepted: recorded days depend on
    it.
    """
    if rng.random() < acceptance:
        return Answer.ACCEPT
    return Answer.DECLINE if rng.random() < 0.5 else Answer.LAPSE


class Wander:
    """A drive at 8 m/s without a destination: slight bends, and back when too far from home."""

    __slots__ = ("_heading", "_home", "_moved_s", "_rng", "at")

    def __init__(self, home: Point, rng: random.Random, now_s: float) -> None:
        self.at = home
        self._home = home
        self._rng = rng
        self._heading = rng.uniform(0, math.tau)
        self._moved_s = now_s

    @property
    def speed_mps(self) -> float:
        """The constant speed."""
        return _SPEED_MPS

    @property
    def heading_deg(self) -> float:
        """The compass direction, 0 to 360."""
        return math.degrees(self._heading) % 360

    def drive_until(self, now_s: float) -> None:
        """Move on to this moment; a pause of more than 60 s counts as 60 s."""
        self._heading += self._rng.uniform(-0.4, 0.4)
        lat, lon = self._home[0] - self.at[0], self._home[1] - self.at[1]
        if math.hypot(lat, lon) > _STRAYS_DEG:
            self._heading = math.atan2(lon, lat)
        stride_m = _SPEED_MPS * min(now_s - self._moved_s, _MAX_STRIDE_S)
        self.at = moved(self.at, stride_m, self._heading)
        self._moved_s = now_s
