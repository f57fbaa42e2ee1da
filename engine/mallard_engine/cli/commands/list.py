"""`mallard list`: print the jobs, the drivers or the alerts of a running engine."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET

from mallard_client import OperatorClientSync, OrderClientSync
from mallard_client.orders.requests import JobFilter
from mallard_engine.cli.live.engine import PATIENCE, add_engine_flags, call_engine
from mallard_engine.cli.live.tables import age, clock, duration, table
from mallard_engine.cli.options import identifier, number
from mallard_engine.input_files import quoted
from mallard_protocol.codes import MAX_PAGE, Role
from mallard_protocol.control import AlertState, AlertView
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import DriverView, Job

_MOST: Final = 1_000_000
_DEFAULT: Final = 1_000
_NONE: Final = "-"
_JobFilterName = Literal[
    "market", "state", "external_id", "created_from", "created_to", "updated_since"
]
_JOB_FILTERS: Final[tuple[_JobFilterName, ...]] = get_args(_JobFilterName)


def add_parser(subparsers: Any) -> None:
    """Add `list jobs`, `list drivers` and `list alerts`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "list", help="print jobs, drivers or alerts of a running engine"
    )
    kinds = parser.add_subparsers(metavar="WHAT", dest="what", required=True)
    jobs = kinds.add_parser("jobs", help="jobs, newest first")
    jobs.add_argument("--market", metavar="M", help="only of this market")
    jobs.add_argument(
        "--state",
        action="append",
        metavar="S",
        choices=[state.value for state in JobState],
        help=f"only in this state; may be repeated: {', '.join(JobState)}",
    )
    jobs.add_argument("--external-id", metavar="ID", help="only with this external id")
    for name, what in (
        ("created-from", "created then or later"),
        ("created-to", "created before then"),
        ("updated-since", "changed then or later"),
    ):
        jobs.add_argument(
            f"--{name}", type=_instant, metavar="TIME", help=f"only {what}: RFC 3339 with an offset"
        )
    jobs.add_argument(
        "--service",
        type=identifier,
        metavar="NAME",
        help="only of this order service, as it sees them (default: all, as operators see them)",
    )
    drivers = kinds.add_parser("drivers", help="the drivers of a market, nearest first")
    drivers.add_argument("--market", metavar="M", required=True, help="their market")
    drivers.add_argument(
        "--near", type=_point, metavar="LAT,LON", help="around this point (default: the market)"
    )
    drivers.add_argument(
        "--radius-m", type=number(int, 1, 500_000), metavar="M", help="how far from it, in metres"
    )
    alerts = kinds.add_parser("alerts", help="alerts of the last days, newest first")
    alerts.add_argument("--market", metavar="M", help="only of this market")
    alerts.add_argument(
        "--state",
        metavar="S",
        choices=[state.value for state in AlertState],
        help="open or acknowledged",
    )
    for action in kinds.choices.values():
        action.add_argument(
            "--json", action="store_true", help="print a JSON object a line, as the API answers"
        )
        action.add_argument(
            "--limit",
            type=number(int, 1, _MOST),
            default=_DEFAULT,
            metavar="N",
            help=f"at most this many (default: {_DEFAULT})",
        )
        add_engine_flags(action)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    service: str | None = getattr(args, "service", None)

    def calls(url: str, token: str) -> int:
        with OperatorClientSync(url, token, **PATIENCE) as client:
            found = _LISTS[args.what](client, args)
        _print(args, found)
        return 0

    if service is None:
        return call_engine(args, calls)
    return call_engine(args, calls, role=Role.ORDERS, name=service)


def _print(args: argparse.Namespace, found: Sequence[Any]) -> None:
    if args.json:
        for item in found:
            print(msgspec.json.encode(item).decode())
        return
    if not found:
        print(f"no {args.what}")
        return
    head, row = _TABLES[args.what]
    now = datetime.now(UTC)
    for line in table(head, [row(item, now) for item in found]):
        print(line)


def _jobs(client: OrderClientSync, args: argparse.Namespace) -> list[Job]:
    wanted = JobFilter(limit=min(MAX_PAGE, args.limit))
    for name in _JOB_FILTERS:
        if (value := getattr(args, name)) is not None:
            wanted[name] = value
    return _first(client.jobs(**wanted), args.limit)


def _drivers(client: OperatorClientSync, args: argparse.Namespace) -> list[DriverView]:
    found = client.drivers(args.market, near=args.near, radius_m=args.radius_m)
    return list(found[: args.limit])


def _alerts(client: OperatorClientSync, args: argparse.Namespace) -> list[AlertView]:
    return _first(_each_alert(client, args), args.limit)


def _each_alert(client: OperatorClientSync, args: argparse.Namespace) -> Iterator[AlertView]:
    cursor: str | None = None
    while True:
        page = client.alerts(state=args.state, market=args.market, cursor=cursor)
        yield from page.items
        if (cursor := page.next_cursor) is None:
            return


def _first(items: Iterator[Any], most: int) -> list[Any]:
    return [item for item, _ in zip(items, range(most), strict=False)]


def _job_row(job: Job, now: datetime) -> list[str]:
    deadline = job.dropoff.deadline
    state = "held" if job.held is not None and job.state == JobState.SCHEDULED else job.state
    return [
        job.id,
        state,
        "" if job.terminal or job.risk is UNSET or job.risk == "none" else job.risk,
        job.pickup.mall,
        job.driver or _NONE,
        age(job.created_at, now),
        _NONE if deadline is UNSET or job.terminal else duration((deadline - now).total_seconds()),
        job.reason or _NONE,
        job.external_id or _NONE,
    ]


def _driver_row(driver: DriverView, now: datetime) -> list[str]:
    return [
        driver.driver,
        driver.state,
        "yes" if driver.connected else "no",
        "suspended" if driver.suspended else driver.barred.why if driver.barred else _NONE,
        str(len(driver.jobs)),
        _NONE if driver.last_seen is None else age(driver.last_seen, now),
        _NONE if driver.lat is None else f"{driver.lat:.5f},{driver.lon:.5f}",
    ]


def _alert_row(alert: AlertView, now: datetime) -> list[str]:
    details = " ".join(f"{name}={quoted(it)}" for name, it in sorted(alert.details.items()))
    return [
        alert.id,
        alert.what,
        alert.state,
        clock(alert.at),
        age(alert.at, now),
        alert.job or _NONE,
        alert.driver or _NONE,
        details or _NONE,
    ]


_LISTS: Final[Mapping[str, Callable[[OperatorClientSync, argparse.Namespace], list[Any]]]] = {
    "jobs": _jobs,
    "drivers": _drivers,
    "alerts": _alerts,
}
_TABLES: Final[Mapping[str, tuple[list[str], Callable[[Any, datetime], list[str]]]]] = {
    "jobs": (
        ["JOB", "STATE", "RISK", "MALL", "DRIVER", "AGE", "DEADLINE IN", "REASON", "EXTERNAL ID"],
        _job_row,
    ),
    "drivers": (["DRIVER", "STATE", "SOCKET", "BARRED", "JOBS", "SEEN", "POSITION"], _driver_row),
    "alerts": (
        ["ALERT", "WHAT", "STATE", "AT", "AGE", "JOB", "DRIVER", "DETAILS"],
        _alert_row,
    ),
}


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time with an offset, as RFC 3339 has")
    return at


def _point(text: str) -> tuple[float, float]:
    try:
        lat, lon = map(float, text.split(","))
    except ValueError:
        lat = lon = 200.0
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAT,LON in degrees")
    return lat, lon
