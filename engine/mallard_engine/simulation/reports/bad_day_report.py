"""Prints where the parcels of bad days are, and whether the goals hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from mallard_engine.workload.bad_day.events import BadDay
from mallard_engine.workload.bad_day.ledger import Accounts

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Goal:
    """What must hold of bad days, whether it does, and what was found."""

    claim: str
    holds: bool
    found: str


def goals_of(accounts: Accounts, breaches: Sequence[str], on_time_percent: float) -> list[Goal]:
    """Compare bad days with the goals.

    Args:
        accounts: Where the parcels are.
        breaches: What the audit of the stored data has found.
        on_time_percent: The least share of deliverable orders on time.
    """
    return [
        Goal("every parcel is accounted for", *_none(accounts.wrongs)),
        Goal("no driver is sent for parcels known to be absent", *_none(accounts.in_vain)),
        Goal("the audit of the stored data finds no breach", *_none(breaches)),
        Goal(
            f"at least {on_time_percent:g} % of the deliverable orders are on time",
            accounts.on_time_percent >= on_time_percent,
            _on_time(accounts),
        ),
    ]


def print_whereabouts(console: Console, bad_day: BadDay, accounts: Accounts) -> None:
    """Print the events, and where the parcels are."""
    events = Table(title="events: share, and how often each took place", title_justify="left")
    for column in ("event", "share", "took place"):
        events.add_column(column, justify="left" if column == "event" else "right")
    for event, share in bad_day.shares.items():
        events.add_row(event.value, f"{share:.1%}", str(accounts.happened.get(event, 0)))
    where = Table(title="where the parcels are", title_justify="left")
    for column in ("orders", "parcels", "state", "reason", "event of the order"):
        where.add_column(column, justify="right" if column == "orders" else "left")
    for row, orders in sorted(accounts.rows.items()):
        where.add_row(str(orders), *(cell or "–" for cell in row))
    console.print(events, where)


def print_goals(console: Console, goals: Sequence[Goal]) -> None:
    """Print whether the goals hold."""
    table = Table(title="goals", title_justify="left")
    for column in ("", "goal", "found"):
        table.add_column(column)
    for goal in goals:
        mark = "[green]✓[/]" if goal.holds else "[bold red]✗[/]"
        table.add_row(mark, goal.claim, goal.found)
    console.print(table)


def as_json(accounts: Accounts, goals: Sequence[Goal]) -> dict[str, Any]:
    """Return the figures as JSON values."""
    names = ("parcels", "state", "reason", "event")
    return {
        "where": [
            {"orders": orders, **dict(zip(names, row, strict=True))}
            for row, orders in sorted(accounts.rows.items())
        ],
        "happened": {event.value: times for event, times in sorted(accounts.happened.items())},
        "deliverable": accounts.deliverable,
        "on_time": accounts.on_time,
        "impossible": accounts.impossible,
        "wrongs": list(accounts.wrongs),
        "in_vain": list(accounts.in_vain),
        "goals": [{"goal": it.claim, "holds": it.holds, "found": it.found} for it in goals],
    }


def _on_time(accounts: Accounts) -> str:
    found = f"{accounts.on_time} of {accounts.deliverable}, {accounts.on_time_percent:.2f} %"
    if not accounts.impossible:
        return found
    return (
        f"{found}; no driver could have been in time for {accounts.impossible} of the others: "
        f"{accounts.possible_on_time_percent:.2f} % without these"
    )


def _none(found: Sequence[str]) -> tuple[bool, str]:
    """Return whether nothing was found, and otherwise the number and the first few items."""
    more = ", …" if len(found) > _SHOWN else ""
    return not found, f"{len(found)}: {', '.join(found[:_SHOWN])}{more}" if found else "0"
