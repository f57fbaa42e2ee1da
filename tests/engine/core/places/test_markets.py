import math
import re
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest
import shapely

from mallard_engine.core.places.markets import Mall, Places, PlacesError
from mallard_engine.core.places.opening_hours import closes_at_ms, is_open

MALLS = {
    "phoenix": {"chandler-fashion-center", "scottsdale-fashion-square", "arizona-mills"},
    "las-vegas": {"fashion-show-las-vegas", "galleria-at-sunset", "meadows-mall"},
    "northern-virginia": {
        "tysons-corner-center",
        "tysons-galleria",
        "fashion-centre-at-pentagon-city",
        "dulles-town-center",
    },
}
CHANDLER = "chandler-fashion-center"
SUNDAY_NOON_ARIZONA_MS = 1_795_374_000_000  # 2026-11-22T12:00:00-07:00
SUNDAY_EVENING_MS = SUNDAY_NOON_ARIZONA_MS + 8 * 3_600_000


@pytest.fixture(scope="module")
def places() -> Places:
    return Places.load()


def _malls(places: Places) -> list[Mall]:
    return [mall for mall in places.malls.values() if mall.kind == "mall"]


def test_each_market_has_its_malls_and_a_station(places: Places) -> None:
    found = {market.id: set(market.malls) for market in places.markets.values()}
    assert found == {market: malls | {f"{market}-station"} for market, malls in MALLS.items()}
    for market in places.markets:
        station = places.mall(f"{market}-station")
        assert station.kind == "station"
        assert len(station.stores) == 1
        assert closes_at_ms(station.hours, SUNDAY_EVENING_MS) is None


def test_every_mall_has_gates_stores_and_a_plausible_size(places: Places) -> None:
    for mall in _malls(places):
        assert len(mall.gates) >= 2
        assert 20 <= len(mall.stores) <= 40
        assert {store.gate for store in mall.stores.values()} == set(mall.gates)
        assert {store.floor for store in mall.stores.values()} == set(range(1, mall.floors + 1))
        assert 80 <= math.sqrt(mall.outline_m.area / math.pi) <= 195
    assert places.mall(CHANDLER).stores["lego"].name == "LEGO"


def test_time_zones_match_the_states(places: Places) -> None:
    zones = {mall.market: mall.time_zone for mall in places.malls.values()}
    assert zones == {
        "phoenix": "America/Phoenix",
        "las-vegas": "America/Los_Angeles",
        "northern-virginia": "America/New_York",
    }


def test_malls_open_on_sunday_noon_and_close_by_evening(places: Places) -> None:
    for mall in _malls(places):
        assert is_open(mall.hours, SUNDAY_NOON_ARIZONA_MS)
        assert not is_open(mall.hours, SUNDAY_EVENING_MS)
    assert is_open(Places.load(opening_hours=False).mall(CHANDLER).hours, SUNDAY_EVENING_MS)


def test_point_is_in_its_market_and_mall(places: Places) -> None:
    for mall in places.malls.values():
        assert places.market_of_mall(mall.id) is places.market(mall.market)
        assert mall.holds(mall.lat, mall.lon)
        assert mall.distance_to_outline_m(mall.lat, mall.lon) == 0
    assert places.in_area("phoenix", 33.3197, -111.8412)
    assert not places.in_area("las-vegas", 33.3197, -111.8412)
    assert not places.in_area("phoenix", math.nan, math.nan)


def test_boundary_counts_as_inside(places: Places) -> None:
    mall = places.mall(CHANDLER)
    lon, lat = mall.outline.exterior.coords[0]
    assert mall.holds(lat, lon)


def test_a_gate_is_at_distance_zero_of_itself(places: Places) -> None:
    for mall in places.malls.values():
        for gate in mall.gates.values():
            distances = mall.gate_distances_m(gate.lat, gate.lon)
            assert min(distances, key=distances.__getitem__) == gate.id
            assert distances[gate.id] == 0
            assert mall.distance_to_outline_m(gate.lat, gate.lon) < 150


def test_polygons_are_lon_lat(places: Places) -> None:
    assert shapely.contains_xy(places.market("phoenix").area, -112.07, 33.45)


def test_unknown_id_raises_key_error(places: Places) -> None:
    with pytest.raises(KeyError):
        places.mall("nowhere")
    with pytest.raises(KeyError):
        places.in_area("atlantis", 0, 0)


# Files of one's own


@pytest.fixture
def text() -> str:
    return (resources.files("mallard_engine") / "places" / "phoenix.toml").read_text(
        encoding="utf-8"
    )


def test_places_load_from_a_file_or_folder(tmp_path: Path, text: str) -> None:
    file = tmp_path / "phoenix.toml"
    file.write_text(text, encoding="utf-8")
    for named in (file, tmp_path):
        assert set(Places.load([named]).markets) == {"phoenix"}


def test_folder_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlacesError, match=r"no \.toml file"):
        Places.load([tmp_path])
    with pytest.raises(PlacesError, match=r"gone\.toml: cannot be read"):
        Places.load([tmp_path / "gone.toml"])


def test_mall_belongs_to_one_market(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    twin = tmp_path / "b.toml"
    twin.write_text(text, encoding="utf-8")
    with pytest.raises(PlacesError, match="market phoenix: defined twice"):
        Places.load([tmp_path])
    twin.write_text(text.replace('id = "phoenix"', 'id = "tucson"', 1), encoding="utf-8")
    with pytest.raises(PlacesError, match=r"mall chandler-fashion-center: also in market phoenix"):
        Places.load([tmp_path])


LEGO = r'\{ id = "lego".*\}'


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^", "= ", "cannot be read"),
        (r'id = "phoenix"', 'id = "pho}enix"', "id 'pho}enix' is not 1-64 characters"),
        (r'id = "phoenix"', f'id = "{"x" * 65}"', f"id '{'x' * 65}' is not 1-64 characters"),
        (r'name = "Phoenix"', "", "name is missing"),
        (r'name = "Phoenix"', "name = 7", "name is 7, not of type str"),
        (r'source = "Drawn', 'colour = "red"\nsource = "Drawn', "unknown field colour"),
        (r"area = \[\n", "area = [[33.3, -111.9], ", "area has a corner that is not a [lon, lat]"),
        (r"area = \[\n", "area = [[nan, 33.2], ", "area has a corner that is not a [lon, lat]"),
        (r"area = \[\n", "area = [[-112.0], ", "area is not a ring of [lon, lat] pairs"),
        (r"area = \[\n", "area = [[-111.7, 33.9], ", "area is not a valid polygon: Self-inters"),
        (r"(?s)area = \[\n.*?\n\]", "area = [[-112, 33]]", "area has 1 corners, fewer than three"),
        (r'id = "arizona-mills"', f'id = "{CHANDLER}"', f"mall {CHANDLER}: this id is there twice"),
        (r"lat = 33.301354", "lat = 33.401354", f"mall {CHANDLER}: its position is outside"),
        (r"lat = 33.301354", "lat = nan", f"mall {CHANDLER}: (nan, -111.898526) is not a pos"),
        (r"floors = 2", "floors = 0", f"mall {CHANDLER}: floors is 0"),
        (r"floors = 2", "floors = true", f"mall {CHANDLER}: floors is True, not of type int"),
        (r'"America/Phoenix"', '"America/Nowhere"', f"mall {CHANDLER}: opening hours"),
        (r"mon-sat", "mon-sut", f"mall {CHANDLER}: opening hours: mon-sut is neither a day"),
        (r"mon-sat", "mon-sun", f"mall {CHANDLER}: opening hours: sun is there twice"),
        (r'"10:00-21:00"', '"10-21"', f"mall {CHANDLER}: opening hours: opening hours are wri"),
        (r'"10:00-21:00"', "10", f"mall {CHANDLER}: opening hours"),
        (r'"2026-11-26"', '"Thanksgiving"', f"mall {CHANDLER}: opening hours"),
        (r'kind = "station"', 'kind = "kiosk"', "mall phoenix-station: kind is 'kiosk'"),
        (
            r'return_station = "[a-z-]+"',
            'return_station = "arizona-mills"',
            "return_station 'arizona-mills' is not one of its stations",
        ),
        (r"floors = 2", 'floors = 2\nkind = "station"', f"mall {CHANDLER}: a station has one"),
        (
            r'(?s)kind = "station"(.*?) \{ id = "yard".*?\n',
            r"\1",
            "mall phoenix-station: a mall has at least two gates",
        ),
        (r'("north", lat = )33.30', r"\g<1>33.31", f"mall {CHANDLER}: gate north is 1"),
        (r'\{ id = "south"', '{ id = "north"', f"mall {CHANDLER}: gate north: this id is there"),
        (LEGO, "7", f"mall {CHANDLER}: stores 1 is not a table"),
        (LEGO, '{ name = "LEGO" }', f"mall {CHANDLER}: store no. 1: id is missing"),
        (r'("LEGO", gate = )"north"', r'\1"yard"', f"mall {CHANDLER}: store lego: gate 'yard' is"),
        (r'("LEGO".* floor = )1', r"\g<1>3", f"mall {CHANDLER}: store lego: floor 3 is not wi"),
        (r'("LEGO".* walk_s = )\d+', r"\1-1", f"mall {CHANDLER}: store lego: walk_s is -1"),
        (
            r'("LEGO".*) }',
            r"\1, handover_s = -5 }",
            f"mall {CHANDLER}: store lego: handover_s is -5",
        ),
        (r'("LEGO".*) }', r"\1, shelf = 2 }", f"mall {CHANDLER}: store lego: unknown field shelf"),
        (r'("LEGO".*) }', r"\1, hours = 9 }", f"mall {CHANDLER}: store lego: hours is 9, not of"),
        (
            r'("LEGO".*) }',
            r'\1, hours = { mon = "9-17" } }',
            f"mall {CHANDLER}: store lego: opening hours: opening hours are wri",
        ),
        (
            r'("LEGO".*) }',
            r'\1, hours = { mon-sun = "22:00-23:00" } }',
            f"mall {CHANDLER}: store lego: opening hours: never open while the mall is",
        ),
        (
            r'("LEGO".*) }',
            r"\1, holidays = {} }",
            f"mall {CHANDLER}: store lego: unknown field holidays",
        ),
    ],
)
def test_invalid_entry_is_named(
    tmp_path: Path, text: str, pattern: str, replacement: str, message: str
) -> None:
    changed, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1
    assert changed != text
    file = tmp_path / "phoenix.toml"
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(PlacesError, match=rf"phoenix\.toml(:\d+)?: {re.escape(message)}"):
        Places.load([file])


@pytest.mark.finding("D9")
@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r'name = "Phoenix"', "name = 7"),
        (r'source = "Drawn', 'colour = "red"\nsource = "Drawn'),
        (r'id = "arizona-mills"', f'id = "{CHANDLER}"'),
        (r"lat = 33.301354", "lat = nan"),
        (r"floors = 2", "floors = 0"),
        (r'"America/Phoenix"', '"America/Nowhere"'),
        (r"mon-sat", "mon-sut"),
        (r'kind = "station"', 'kind = "kiosk"'),
        (r'("LEGO", gate = )"north"', r'\1"yard"'),
        (r'("LEGO".* floor = )1', r"\g<1>3"),
        (r'("LEGO".* walk_s = )\d+', r"\g<1>999999"),
        (r'("LEGO".*) }', r"\1, shelf = 2 }"),
        (r'("LEGO".*) }', r'\1, hours = { mon = "9-17" } }'),
    ],
)
def test_invalid_entry_is_reported_with_its_line(
    tmp_path: Path, text: str, pattern: str, replacement: str
) -> None:
    where = re.search(pattern, text)
    assert where is not None
    file = tmp_path / "own.toml"
    file.write_text(re.sub(pattern, replacement, text, count=1), encoding="utf-8")
    with pytest.raises(PlacesError) as raised:
        Places.load([file])
    line = text.count("\n", 0, where.start()) + 1
    assert str(raised.value).startswith(f"own.toml:{line}: ")
    assert "\n" not in str(raised.value)


def test_store_may_give_its_service_time(tmp_path: Path, text: str) -> None:
    file = tmp_path / "phoenix.toml"
    file.write_text(re.sub(r'("LEGO".*) }', r"\1, handover_s = 300 }", text, count=1))
    stores = Places.load([file]).mall(CHANDLER).stores
    assert stores["lego"].handover_s == 300
    assert stores["apple"].handover_s is None


def test_mall_outside_its_market_is_named(tmp_path: Path, text: str) -> None:
    area = "area = [[-113.0, 33.0], [-112.5, 33.0], [-112.5, 33.5]]"
    changed = re.sub(r"(?s)area = \[\n.*?\n\]", area, text, count=1)
    file = tmp_path / "phoenix.toml"
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(PlacesError, match=f"mall {CHANDLER}: it is not inside"):
        Places.load([file])


def test_store_may_have_hours_of_its_own(tmp_path: Path, text: str) -> None:
    own = 'hours = { mon-fri = "08:00-12:00" }, holidays = { 2026-11-23 = "closed" }'
    file = tmp_path / "phoenix.toml"
    file.write_text(re.sub(r'("LEGO".*) }', rf"\1, {own} }}", text, count=1))
    mall = Places.load([file]).mall(CHANDLER)
    assert mall.hours_of(("apple",)) is mall.hours
    assert not mall.never_closes
    for day, is_there in ((23, False), (24, True)):
        at_ms = int(datetime(2026, 11, day, 18, tzinfo=UTC).timestamp() * 1000)
        assert is_open(mall.hours, at_ms)
        assert is_open(mall.hours_of(("apple", "lego")), at_ms) is is_there
    always = Places.load([file], opening_hours=False).mall(CHANDLER)
    assert always.never_closes
    assert always.hours_of(("lego",)).week is None
