"""Reads and validates a market's TOML file; `docs/reference/places.md` describes its fields.

Every error is a `PlacesError` that names the file, the line and the entry, as in
`phoenix.toml:61: mall arizona-mills: store lego: gate 'nowhere' is not one of its gates`. The
TOML parser gives no line numbers, so the line is found by searching the text for the field.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import shapely
from shapely.geometry import Polygon
from shapely.validation import explain_validity

from mallard_engine.core.places.mall import Gate, Mall, MallKind, Market, Store
from mallard_engine.core.places.opening_hours import (
    NEVER,
    OpeningHours,
    opening_at,
    parse_spans,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable

    from mallard_engine.core.places.opening_hours import Span, Week

MAX_GATE_TO_OUTLINE_M = 150
"""A gate lies on the outline or in the car park in front of it."""

_MOST_FLOORS = 200
# A longer walk or service time is a typing error.
_LONGEST_S = 14_400
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_KINDS: dict[str, MallKind] = {"mall": "mall", "station": "station"}

_T = TypeVar("_T")
_D = TypeVar("_D")


class PlacesError(ValueError):
    """A places file cannot be used; the message names the entry and the fault."""


class _Text(NamedTuple):
    """A file's name and text."""

    name: str
    text: str

    def find(self, pattern: str, start: int) -> re.Match[str] | None:
        return re.compile(pattern, re.MULTILINE).search(self.text, start)

    def table_at(self, inside: int, start: int) -> int:
        """Return where the table around a position begins, not before `start`."""
        head, brace = (self.text.rfind(mark, start, inside) for mark in ("[[", "{"))
        return max(head, brace, start)

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1


class _Entry:
    """One table of the file: returns its fields validated, and builds errors with name and line."""

    def __init__(self, where: str, table: dict[str, Any], file: _Text, start: int = 0) -> None:
        self.where = where
        self._rest = dict(table)
        self._file = file
        self._start = start

    def wrong(self, what: str, key: str = "") -> PlacesError:
        """Return the error about the field `key`, or about the whole entry."""
        name = re.escape(key)
        pattern = rf"""(["']?)\b{name}\b\1\s*=|\[[\w.]*\b{name}\]"""
        found = self._file.find(pattern, self._start) if key else None
        line = self._file.line(found.start() if found else self._start)
        return PlacesError(f"{self._file.name}:{line}: {self.where}{what}")

    def take(self, key: str, kind: type[_T]) -> _T:
        """Remove a required field and return it; its type must be exactly `kind`."""
        if key not in self._rest:
            raise self.wrong(f"{key} is missing")
        value = self._rest.pop(key)
        if type(value) is not kind:
            raise self.wrong(f"{key} is {value!r}, not of type {kind.__name__}", key)
        return value

    def take_id(self) -> str:
        value = self.take("id", str)
        if not _ID.fullmatch(value):
            raise self.wrong(f"id {value!r} is not 1-64 characters of A-Z a-z 0-9 _ . : -", "id")
        return value

    def take_position(self) -> tuple[float, float]:
        lat, lon = self.take("lat", float), self.take("lon", float)
        if not (abs(lat) <= 90 and abs(lon) <= 180):
            raise self.wrong(f"({lat}, {lon}) is not a position in degrees", "lat")
        return lat, lon

    def take_polygon(self, key: str) -> Polygon:
        """Read a ring of [lon, lat] pairs, closed or not."""
        ring = self.take(key, list)
        try:
            corners = [(float(lon), float(lat)) for lon, lat in ring]
        except (ValueError, TypeError) as error:
            raise self.wrong(f"{key} is not a ring of [lon, lat] pairs: {error}", key) from error
        if len(corners) < 3:
            raise self.wrong(f"{key} has {len(corners)} corners, fewer than three", key)
        if not all(abs(lon) <= 180 and abs(lat) <= 90 for lon, lat in corners):
            raise self.wrong(f"{key} has a corner that is not a [lon, lat] pair in degrees", key)
        polygon = Polygon(corners)
        if not polygon.is_valid:
            raise self.wrong(f"{key} is not a valid polygon: {explain_validity(polygon)}", key)
        return polygon

    def take_entries(self, key: str, what: str) -> list[tuple[str, _Entry]]:
        """Return a list of tables as entries by id: at least one, with unique ids."""
        entries: dict[str, _Entry] = {}
        listed = self._file.find(rf"\b{re.escape(key)}\b", self._start)
        at = listed.end() if listed else self._start
        for number, table in enumerate(self.take(key, list), start=1):
            if not isinstance(table, dict):
                raise self.wrong(f"{key} {number} is not a table", key)
            named = re.escape(str(table.get("id")))
            found = self._file.find(rf"""\bid["']?\s*=\s*["']{named}["']""", at)
            start = self._file.table_at(found.start(), self._start) if found else at
            at = found.end() if found else at
            where = f"{self.where}{what} {table.get('id', f'no. {number}')}: "
            entry = _Entry(where, table, self._file, start)
            entry_id = entry.take_id()
            if entry_id in entries:
                raise entry.wrong("this id is there twice", "id")
            entries[entry_id] = entry
        if not entries:
            raise self.wrong(f"{key} is empty", key)
        return list(entries.items())

    def take_if_there(self, key: str, kind: type[_T], default: _D) -> _T | _D:
        return self.take(key, kind) if key in self._rest else default

    def done(self) -> None:
        """Reject fields that were not taken: a misspelt field is an error."""
        if self._rest:
            unknown = sorted(self._rest)
            raise self.wrong(f"unknown field {', '.join(unknown)}", unknown[0])


def read_market(file: Traversable, *, opening_hours: bool = True) -> Market:
    """Read one market. Without `opening_hours` its malls are always open.

    Raises:
        PlacesError: The file cannot be used.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise PlacesError(f"{file.name}: cannot be read: {error}") from error
    entry = _Entry("", table, _Text(file.name, text))
    market = entry.take_id()
    name, area = entry.take("name", str), entry.take_polygon("area")
    entry.take("source", str)
    malls = {
        mall_id: _read_mall(mall_id, market, mall, opening_hours=opening_hours)
        for mall_id, mall in entry.take_entries("malls", "mall")
    }
    station = entry.take_if_there("return_station", str, None)
    entry.done()
    if station is not None and (station not in malls or malls[station].kind != "station"):
        raise entry.wrong(
            f"return_station {station!r} is not one of its stations", "return_station"
        )
    for mall in malls.values():
        if not shapely.covers(area, mall.outline):
            raise entry.wrong(f"mall {mall.id}: it is not inside the market's area", "area")
    return Market(market, name, area, malls, station)


def _read_mall(mall_id: str, market: str, entry: _Entry, *, opening_hours: bool) -> Mall:
    entry.take("source", str)
    kind = entry.take_if_there("kind", str, "mall")
    if kind not in _KINDS:
        raise entry.wrong(f"kind is {kind!r}, neither mall nor station", "kind")
    lat, lon = entry.take_position()
    floors = entry.take("floors", int)
    if not 1 <= floors <= _MOST_FLOORS:
        raise entry.wrong(f"floors is {floors}, not from 1 to {_MOST_FLOORS}", "floors")
    gates = {gate.id: gate for gate in _read_gates(entry)}
    hours = _read_hours(entry)
    mall = Mall(
        id=mall_id,
        name=entry.take("name", str),
        market=market,
        kind=_KINDS[kind],
        lat=lat,
        lon=lon,
        time_zone=hours.time_zone,
        floors=floors,
        outline=entry.take_polygon("outline"),
        gates=gates,
        stores={store.id: store for store in _read_stores(entry, gates, floors, hours)},
        hours=hours,
    )
    entry.done()
    _check_mall(entry, mall)
    return mall if opening_hours else _always_open(mall)


def _always_open(mall: Mall) -> Mall:
    stores = {store.id: replace(store, hours=None) for store in mall.stores.values()}
    return replace(mall, hours=OpeningHours(mall.time_zone), stores=stores)


def _check_mall(entry: _Entry, mall: Mall) -> None:
    if not mall.holds(mall.lat, mall.lon):
        raise entry.wrong("its position is outside its outline: lat, lon", "lat")
    if mall.kind == "mall" and len(mall.gates) < 2:
        raise entry.wrong("a mall has at least two gates", "gates")
    if mall.kind == "station" and len(mall.stores) != 1:
        raise entry.wrong(f"a station has one store, not {len(mall.stores)}", "stores")
    for gate in mall.gates.values():
        away_m = shapely.distance(
            mall.outline_m.exterior, shapely.Point(*mall.plane.xy(gate.lat, gate.lon))
        )
        if away_m > MAX_GATE_TO_OUTLINE_M:
            raise entry.wrong(
                f"gate {gate.id} is {away_m:.0f} m from the outline, over {MAX_GATE_TO_OUTLINE_M}",
                "gates",
            )


def _read_gates(entry: _Entry) -> Iterable[Gate]:
    for gate_id, gate in entry.take_entries("gates", "gate"):
        yield Gate(gate_id, *gate.take_position())
        gate.done()


def _read_stores(
    entry: _Entry, gates: dict[str, Gate], floors: int, mall_hours: OpeningHours
) -> Iterable[Store]:
    for store_id, row in entry.take_entries("stores", "store"):
        store = Store(
            id=store_id,
            name=row.take("name", str),
            gate=row.take("gate", str),
            floor=row.take("floor", int),
            walk_s=row.take("walk_s", int),
            handover_s=row.take_if_there("handover_s", int, None),
            hours=_read_own_hours(row, mall_hours),
        )
        row.done()
        if store.gate not in gates:
            raise row.wrong(f"gate {store.gate!r} is not one of its gates", "gate")
        if not 1 <= store.floor <= floors:
            raise row.wrong(f"floor {store.floor} is not within 1-{floors}", "floor")
        for name, seconds in (("walk_s", store.walk_s), ("handover_s", store.handover_s or 0)):
            if not 0 <= seconds <= _LONGEST_S:
                raise row.wrong(f"{name} is {seconds}, not from 0 to {_LONGEST_S}", name)
        yield store


def _read_hours(entry: _Entry) -> OpeningHours:
    """Read `time_zone` with `hours` and `holidays`, or with `always_open = true`."""
    time_zone = entry.take("time_zone", str)
    always = entry.take_if_there("always_open", bool, default=False)
    return _hours_in(entry, time_zone, None if always else entry.take("hours", dict))


def _read_own_hours(entry: _Entry, mall: OpeningHours) -> OpeningHours | None:
    """Read a store's `hours` and `holidays`, if it has any."""
    week = entry.take_if_there("hours", dict, None)
    if week is None:
        return None
    own = _hours_in(entry, mall.time_zone, week)
    if opening_at(together((mall, own)), 0) == NEVER:
        raise entry.wrong("opening hours: never open while the mall is", "hours")
    return own


def _hours_in(entry: _Entry, time_zone: str, week: dict[str, str] | None) -> OpeningHours:
    """Parse a week and take the holidays; None: always open."""
    try:
        if week is None:
            return OpeningHours(time_zone)
        return OpeningHours(time_zone, _parse_week(week), _parse_holidays(entry))
    except PlacesError:
        raise
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        key = "holidays" if "isoformat" in str(error) else "hours"
        if isinstance(error, KeyError):  # zoneinfo's
            key = "time_zone"
        raise entry.wrong(f"opening hours: {error}", key) from error


def _parse_week(table: dict[str, str]) -> Week:
    """Parse `{mon-sat = "10:00-21:00", sun = "12:00-18:00"}`; days without an entry are closed."""
    week: list[tuple[Span, ...] | None] = [None] * 7
    for days, text in table.items():
        first, _, last = days.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{days} is neither a day (mon … sun) nor a range of days")
        for day in range(_DAYS.index(first), _DAYS.index(last or first) + 1):
            if week[day] is not None:
                raise ValueError(f"{_DAYS[day]} is there twice")
            week[day] = parse_spans(text)
    return tuple(spans or () for spans in week)


def _parse_holidays(entry: _Entry) -> dict[date, tuple[Span, ...]]:
    holidays = entry.take_if_there("holidays", dict, {})
    return {date.fromisoformat(day): parse_spans(text) for day, text in holidays.items()}
