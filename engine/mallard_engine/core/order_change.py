"""A change of a stored order, as the storage takes it."""

from dataclasses import dataclass

from mallard_engine.core.model import Need
from mallard_protocol.lifecycle import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange:
    """A changed order and what follows from it.

    `fields`: JSON pointers of what changes. `until`: the state from which on one of them is fixed;
    None: the end of the job. `stores`: the stores whose own fields change, fixed once collected.
    `body`, `card`: see `Job`; `release_ms`, `lead_ms`, `haul_ms`: see `Submission`. `pay_minor`:
    the new pay, None if it stays. `shop_codes`: the pickup codes of all stores, None if they stay.
    `changes_rules`, `changes_hold`: what to do about missing parcels changes, and for how long.
    `on_undeliverable`: the new rule, None if it stays. `is_moved`: the drop-off has another place
    or address. `changes_course`: its driver's times change.
    """

    fields: tuple[str, ...]
    until: JobState | None
    stores: tuple[str, ...]
    body: bytes
    card: bytes
    need: Need
    release_ms: int
    lead_ms: int = 0
    haul_ms: int = 0
    needs_age_check: bool = False
    pay_minor: int | None = None
    shop_codes: tuple[str, ...] | None = None
    changes_rules: bool = False
    changes_hold: bool = False
    on_undeliverable: str | None = None
    is_moved: bool = False
    changes_course: bool = False
