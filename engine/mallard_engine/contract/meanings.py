"""What the codes and reasons of the contract mean, for the documents."""

from mallard_protocol.codes import (
    AnswerAction,
    BarredWhy,
    FixDropped,
    JobReason,
    OfferClosedWhy,
    OnMissing,
    OnShort,
    OnUndeliverable,
    ServiceLevel,
    StateWhy,
    WhyNot,
)

SERVICE_LEVEL_MEANING: dict[ServiceLevel, str] = {
    ServiceLevel.EXPRESS: "offered at once; its driver's only job until it ends",
    ServiceLevel.POOLED: "offered at once; may share a run",
    ServiceLevel.SAME_DAY: "may be held to share a run while its slack allows",
}

ON_SHORT_MEANING: dict[OnShort, str] = {
    OnShort.DELIVER: "deliver what is there",
    OnShort.HOLD: "wait for the shop before anything is collected; afterwards as `deliver`",
    OnShort.FAIL: "end the order; what is on board goes back",
}

ON_MISSING_MEANING: dict[OnMissing, str] = {
    OnMissing.HOLD: "wait until the shop or the order service says `ready`, for `hold_s` at most",
    OnMissing.FAIL: "end the order",
}

ON_UNDELIVERABLE_MEANING: dict[OnUndeliverable, str] = {
    OnUndeliverable.RETURN: "the driver brings it back",
    OnUndeliverable.LEAVE: "the driver leaves it at the door and takes a photo",
    OnUndeliverable.HOLD: "it stays on board until an answer, `hold_s`, the deadline or the end of"
    " the driver's block; then it goes back",
}

ANSWER_ACTION_MEANING: dict[AnswerAction, str] = {
    AnswerAction.RETRY: "try the delivery again, also on the way back",
    AnswerAction.LEAVE: "leave it at the door and take a photo",
    AnswerAction.RETURN: "bring it back",
    AnswerAction.WAIT: "keep it on board; bounded as `hold` is",
    AnswerAction.INSTRUCTIONS: "read the text and continue",
}

WHY_NOT_MEANING: dict[WhyNot, str] = {
    WhyNot.ASKED_BEFORE: "the driver declined it, let it lapse or gave it up",
    WhyNot.TOO_HEAVY: "the vehicle cannot carry the weight",
    WhyNot.TOO_BIG: "the vehicle cannot carry the volume",
    WhyNot.TOO_MANY_JOBS: "the vehicle has no room for that many jobs",
    WhyNot.LACKS_EQUIPMENT: "the vehicle lacks something that the job requires",
    WhyNot.EXPRESS_ALONE: "an express job is its driver's only one until it ends",
    WhyNot.TOO_LATE_FOR_PICKUP: "the driver cannot collect before closing or the window's end",
    WhyNot.BLOCK_ENDS_TOO_SOON: "the driver's block ends before it would be done",
    WhyNot.NOBODY_IN_REACH: "no driver is near enough",
    WhyNot.NOBODY_FITS: "no driver near has the room, equipment or time",
    WhyNot.STORE_NOT_READY: "a driver found the store not ready or closed; see `held`",
    WhyNot.PAUSED: "an operator has paused matching there",
}

OFFER_CLOSED_MEANING: dict[OfferClosedWhy, str] = {
    OfferClosedWhy.EXPIRED: "nobody answered in time: take the card off the screen",
    OfferClosedWhy.WITHDRAWN: "taken back, or never acknowledged: take the card off the screen",
    OfferClosedWhy.CANCELLED: "the order was cancelled: take the card off the screen",
    OfferClosedWhy.TAKEN: "another driver accepted first: take the card off the screen",
    OfferClosedWhy.COLLECTED: "an earlier holder has the parcels: take the card off the screen",
}

STATE_WHY_MEANING: dict[StateWhy, str] = {
    StateWhy.STALE: "no position came for too long: send one to be offered jobs again",
    StateWhy.FIXES_REJECTED: "several fixes were refused: check the position source",
    StateWhy.CLOCK_SKEW: "the phone's clock is off: add the offset seen in `welcome`",
    StateWhy.SUSPENDED: "an operator took the driver out of matching",
    StateWhy.RESUMED: "an operator let the driver back into matching",
    StateWhy.COOLING_DOWN: "a short pause after a decline or a lapse; it ends by itself",
    StateWhy.UNREACHABLE: "an offer was not acknowledged; any frame ends this",
    StateWhy.BLOCK_OVER: "`until_ms` has passed: send `status` to continue",
    StateWhy.BAD_FIELD: "a wrong optional field of `hello` was left out: mend the app",
    StateWhy.TRANSFER: "your parcels go to another driver: you are paused, wait at the place",
}

BARRED_MEANING: dict[BarredWhy, str] = {
    BarredWhy.SUSPENDED: "an operator took the driver out of matching",
    BarredWhy.COOLING_DOWN: "a short pause after a decline or a lapse; it ends at `until_ms`",
    BarredWhy.UNREACHABLE: "an offer was not acknowledged; any frame on the socket ends this",
    BarredWhy.STALE: "the last position is too old: send one",
    BarredWhy.NO_POSITION: "no position is known: send one",
    BarredWhy.BLOCK_OVER: "`until_ms` has passed: send `status` to continue",
    BarredWhy.MARKET_PAUSED: "an operator paused the market",
}

FIX_DROPPED_MEANING: dict[FixDropped, str] = {
    FixDropped.MALFORMED: "its time or its place is missing or out of range",
    FixDropped.OLD: "it is older than the last one, or too old to say where the driver is",
    FixDropped.FUTURE: "it is more than 5 s ahead of the server: the phone's clock is off",
    FixDropped.IMPOSSIBLE: "no vehicle gets there from the last place in that time",
    FixDropped.OUTSIDE: "it lies outside the driver's market",
    FixDropped.UNKNOWN: "the driver has not said hello on a socket yet",
}

JOB_REASON_MEANING: dict[JobReason, str] = {
    JobReason.COLLECTED: "an earlier holder collected it: stop, the job is not yours",
    JobReason.CANCELLED: "the order was cancelled: stop; what is on board goes back",
    JobReason.ASSIGNED: "an operator gave you the job",
    JobReason.ARRIVED: "your position is at the mall: you need not report the arrival",
    JobReason.UNASSIGNED: "an operator took the job from you: stop",
    JobReason.SILENT: "you were away for too long and the job went on: stop",
    JobReason.CLOSED: "an operator closed the job",
    JobReason.HANDED_OVER: "the shop has handed the parcels over to you",
    JobReason.READY_CHANGED: "the parcels of a store are ready at another time",
    JobReason.UPDATED: "the job has changed: see `detail`",
    JobReason.HELD: "a shop cannot hand over its parcels now: the job waits without you",
    JobReason.NOT_AT_COUNTER: "failed: the parcels were not at the counter",
    JobReason.STORE_CLOSED: "failed: the shop was closed",
    JobReason.SHORT: "parcels were missing, and the order ends then",
    JobReason.TRANSFERRED: "another driver has the parcels now: the job is not yours",
    JobReason.NOTHING_TO_TRANSFER: "the transfer ended: none of its parcels is still on board",
    JobReason.ANSWER: "the answer to a problem: do what `answer` says",
    JobReason.CUSTOMER_UNREACHABLE: "goes back: nobody was at the door",
    JobReason.REFUSED: "goes back: the customer refused it",
    JobReason.WRONG_ADDRESS: "goes back: the address was wrong",
    JobReason.NOBODY_IN_REACH: "expired: no driver was near enough",
    JobReason.NOBODY_FITS: "expired: no driver near had the room, equipment or time",
    JobReason.NOBODY_ACCEPTED: "expired: every driver asked said no or nothing",
    JobReason.NOT_READY_IN_TIME: "expired: not ready to be collected before its window ended",
    JobReason.TOO_MANY_ATTEMPTS: "expired: given up after too many rounds",
}
