"""Records of offers and of the rounds that made them."""

from collections.abc import Iterable

import msgspec

from mallard_engine.core.model import LiveOffer, OfferedJob, RoundRecord

_round = msgspec.msgpack.Decoder(RoundRecord).decode


class OfferedJobRecord(msgspec.Struct):
    """A job of an offer as stored. Its times are those of the offer."""

    job: str
    attempt: int
    eta_pickup_ms: int = 0
    eta_dropoff_ms: int = 0
    pay_minor: int | None = None
    done: tuple[str, ...] = ()


class OfferRecord(msgspec.Struct):
    """An offer as stored. ``state``: ``live``, or how it ended."""

    offer: str
    driver: str
    mall: str
    gate: str
    attempt: int
    jobs: list[OfferedJobRecord]
    eta_s: int
    distance_m: int
    eta_pickup_ms: int
    eta_dropoff_ms: int
    expires_ms: int
    ack_by_ms: int
    state: str
    add_on: bool = False
    # One of several live offers of its job: see `RoundOfOffers`.
    staggered: bool = False

    def live(self, cards: Iterable[bytes]) -> LiveOffer:
        """Return the offer with the cards of its jobs."""
        return LiveOffer(
            offer=self.offer,
            driver=self.driver,
            mall=self.mall,
            gate=self.gate,
            attempt=self.attempt,
            jobs=tuple(
                OfferedJob(
                    job.job,
                    job.attempt,
                    card,
                    job.eta_pickup_ms or self.eta_pickup_ms,
                    job.eta_dropoff_ms or self.eta_dropoff_ms,
                    job.pay_minor,
                    job.done,
                )
                for job, card in zip(self.jobs, cards, strict=True)
            ),
            eta_s=self.eta_s,
            distance_m=self.distance_m,
            eta_pickup_ms=self.eta_pickup_ms,
            eta_dropoff_ms=self.eta_dropoff_ms,
            expires_ms=self.expires_ms,
            ack_by_ms=self.ack_by_ms,
            add_on=self.add_on,
        )


class RoundOfOffers(msgspec.Struct):
    """A staggered round as stored with its job.

    ``live``: its live offers. ``asked``: how many drivers have got an offer; ``most``: how many
    may. ``rest``: the rest of the ranking.
    """

    live: list[str]
    asked: int
    most: int
    gap_ms: int
    next_ms: int
    rest: list[msgspec.Raw]

    @property
    def asks_more(self) -> bool:
        """Whether the job may be offered to another driver."""
        return self.asked < self.most and bool(self.rest)


_offer = msgspec.msgpack.Decoder(OfferRecord).decode
_round_of_offers = msgspec.msgpack.Decoder(RoundOfOffers).decode


def read_offer(packed: bytes) -> OfferRecord:
    """Read an offer, live or ended."""
    return _offer(packed)


def read_round_of_offers(packed: bytes) -> RoundOfOffers:
    """Read a staggered round."""
    return _round_of_offers(packed)


def read_round(packed: bytes) -> RoundRecord:
    """Read a stored round."""
    return _round(packed)
