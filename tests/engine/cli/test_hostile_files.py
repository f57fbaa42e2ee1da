"""Files that no command can use: one line that names file, line and field; exit status 2."""

import itertools
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.cli.main import main
from tests.engine.simulation.instances import write_instance

pytestmark = pytest.mark.finding("E")

BOM = b"\xef\xbb\xbf"
DEEP = "[" * 100_000
ORDERS = (
    "order_id,pick_up_lat,pick_up_lng,drop_off_lat,drop_off_lng,placement_time,preparation_time,"
    "ready_time,expected_drop_off_time"
)
ORDER = "1,4.8,-75.7,4.81,-75.69,08:00:00,08:00:00,08:10:00,08:40:00"
COURIERS = "courier_id,vehicle,on_lat,on_lng,on_time,off_time"
COURIER = "1,car,4.8,-75.7,07:00:00,12:00:00"
DAY_MS = 86_400_000
START_MS = 1_790_000_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting, secret or data folder of this machine has a say."""
    for name in [name for name in os.environ if name.startswith("MALLARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MALLARD_SECRET", "s" * 32)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command says before it ends with status 2."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.split("\n")[:-1]
    assert line.startswith("mallard: ")
    assert line.isprintable()
    assert len(line) < 400
    return line


def job(**fields: Any) -> dict[str, Any]:
    return {"pickup": {"mall": "m", "stores": [{"store": "s"}]}} | fields


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"note": "\\ud800"}\n', ["line 2", "/note", "surrogate"]),
        ('{"\\udfff": 1}', ["surrogate"]),
        (DEEP, ["nested"]),
        ('{"a": 1}\n{"a": ' + DEEP, ["line 2", "nested"]),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", ["nested"]),
        ('{"a": 1}\n{"lat": NaN}', ["line 2", "NaN"]),
        ('{"a": 1}\n{"dropoff": {"lat": 1e999}}', ["line 2", "/dropoff/lat"]),
        ('{"pay": 99999999999999999999}', ["/pay", "64 bits"]),
        ('{"pay": ' + "9" * 5_000 + "}", ["jobs.json"]),
        ('{"a": 1, "a": 2}', ["'a'", "twice"]),
        ('{"external_id": "X"}\n{"external_id": "X"}', ["line 2", "external_id", "'X'"]),
        ('{"a": 1}\n[]\n', ["line 2"]),
        ('{"a": 1}\n{"b": ', ["line 2"]),
        ('{\n "a": 1,\n "b": \n}', ["line 4"]),
        ('[{"a": 1}, 7]', ["job 2"]),
        ("", ["no job"]),
        ("\n \n", ["no job"]),
    ],
)
def test_submit_refuses_an_invalid_job(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str]
) -> None:
    (folder / "jobs.json").write_text(text)
    line = refused(capsys, "submit", "jobs.json")
    assert all(word in line for word in ["jobs.json", *words]), line


def test_submit_refuses_text_that_is_not_utf_8(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "jobs.json").write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    assert "jobs.json, line 2: not UTF-8" in refused(capsys, "submit", "jobs.json")
    assert "Is a directory" in refused(capsys, "submit", str(folder))


@pytest.mark.parametrize("text", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r"])
def test_only_a_newline_ends_a_job_line(text: str) -> None:
    from mallard_engine.cli.commands.submit import read_jobs  # noqa: PLC0415 - not on the old code's path

    jobs = [job(note=f"a{text}b"), job(note="c")]
    lines = "\n".join(json.dumps(it, ensure_ascii=False).replace("\\r", "") for it in jobs)
    assert len(read_jobs(lines)) == 2
    assert len(read_jobs(lines.replace("\n", "\r\n"))) == 2


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        (["submit", "FILE", "--url", "http://127.0.0.1:1"], "jobs.json", '{"a": 1}'),
        (["config", "check", "--config", "FILE"], "c.toml", "port = 8001\n"),
        (["config", "check"], "keys.json", ""),
    ],
)
def test_byte_order_mark_is_skipped(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    name: str,
    text: str,
) -> None:
    if name == "keys.json":
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from jwt.algorithms import ECAlgorithm  # noqa: PLC0415

        key = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
        text = json.dumps({"keys": [key]})
        monkeypatch.setenv("MALLARD_KEY_SET_FILE", name)
    (folder / name).write_bytes(BOM + text.encode())
    main([word.replace("FILE", name) for word in command])
    output = capsys.readouterr().err
    assert name not in output, output
    assert "Traceback" not in output


def test_tables_may_begin_with_a_byte_order_mark(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = write_instance(folder / "town", orders=3)
    for path in town.iterdir():
        path.write_bytes(BOM + path.read_bytes())
    # The tables are read before the policy, which is what is refused.
    (folder / "p.toml").write_bytes(BOM + b"[policy]\nwindow_ms = 0\n")
    assert "window_ms" in refused(capsys, "simulate", "mdrp", "town", "--policy", "p.toml")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2,4.8,-75.7,4.81", ["cut short", "drop_off_lng"]),
        (ORDER.replace("1,4.8", "2,nan"), ["pick_up_lat", "'nan'"]),
        (ORDER.replace("1,4.8", "2,inf"), ["pick_up_lat"]),
        (ORDER.replace("1,4.8", "2,91"), ["pick_up_lat"]),
        (ORDER.replace("1,4.8", "2,"), ["pick_up_lat"]),
        (ORDER.replace("1,4.8", "2,1_0"), ["pick_up_lat"]),
        (ORDER.replace("1,4.8", "2,4.8").replace("-75.69", "-181"), ["drop_off_lng"]),
        (ORDER.replace("1,4.8", "a/b,4.8"), ["order_id", "'a/b'"]),
        (ORDER.replace("1,4.8", "a b,4.8"), ["order_id"]),
        (ORDER.replace("1,4.8", f"{'x' * 60},4.8"), ["order_id", "1-55"]),
        (ORDER, ["order_id", "line 2 already"]),
        (ORDER.replace("1,4.8", "2,4.8").replace("08:40:00", "99:00:00"), ["expected_drop_off"]),
        (ORDER.replace("1,4.8", "2,4.8").replace("08:40:00", "-1:-1:-1"), ["expected_drop_off"]),
        (ORDER.replace("1,4.8", "2,4.8").replace("08:40:00", "08:40"), ["expected_drop_off"]),
        (ORDER + ",extra", ["10 cells"]),
        ('2,"4.8', ["line 3"]),
    ],
)
def test_city_day_with_a_bad_row_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], row: str, words: list[str]
) -> None:
    (folder / "orders.csv").write_text(f"{ORDERS}\n{ORDER}\n{row}\n")
    (folder / "couriers.csv").write_text(f"{COURIERS}\n{COURIER}\n")
    line = refused(capsys, "simulate", "cityday", str(folder))
    assert all(word in line for word in ["orders.csv, line 3", *words]), line


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("orders.txt", "o1\t", "o/1\t", ["line 2", "order", "'o/1'"]),
        ("orders.txt", "o2\t", "o1\t", ["line 3", "order", "line 2 already"]),
        ("couriers.txt", "c2\t", "c1\t", ["line 3", "courier"]),
        ("restaurants.txt", "r2\t", "r1\t", ["line 3", "restaurant"]),
        ("orders.txt", "o1\t", "o1\tnan", ["line 2", "x:"]),
        ("orders.txt", "o1\t", "o1\t9999999", ["line 2", "x:"]),
        ("orders.txt", "order\tx", "order\ty", ["line 1", "'y'", "twice"]),
        ("instance_parameters.txt", "320", "nan", ["line 2", "meters_per_minute"]),
        ("instance_parameters.txt", "320", "0", ["line 2", "meters_per_minute"]),
        ("instance_parameters.txt", "\t40\t", "\t-40\t", ["line 2", "target click-to-door"]),
    ],
)
def test_instance_with_a_bad_row_is_refused(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    old: str,
    new: str,
    words: list[str],
) -> None:
    table = write_instance(folder / "town", orders=3) / name
    table.write_text(table.read_text().replace(old, new, 1))
    line = refused(capsys, "simulate", "mdrp", "town")
    assert all(word in line for word in [name, *words]), line


@pytest.mark.parametrize(
    ("row", "words"),
    [("1,AZ,X,nan,-112,x,1,1,1,r", ["lat"]), ("1,AZ,X,33.1", ["cut short"])],
)
def test_zip_table_with_a_bad_row_is_refused(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    words: list[str],
) -> None:
    (folder / "places").mkdir()
    head = "zip,state,city,lat,lon,timezone,land_area_sq_mi,population,households,tier"
    (folder / "places" / "zips_az_nv_va_dc_md.csv").write_text(f"{head}\n{row}\n")
    monkeypatch.setenv("MALLARD_DATASETS", str(folder))
    line = refused(capsys, "simulate", "mallday")
    assert all(word in line for word in ["zips_az", "line 2", *words]), line


@pytest.mark.parametrize("text", ["a = " + DEEP, "a = 1\na = 2", "a = [", "\x00"])
@pytest.mark.parametrize(
    "command", [["config", "check", "--config"], ["simulate", "mallday", "--policy"]]
)
def test_bad_toml_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], text: str
) -> None:
    (folder / "bad.toml").write_text(text)
    assert "bad.toml" in refused(capsys, *command, "bad.toml")


def recorded(**job_fields: Any) -> list[dict[str, Any]]:
    needed = {
        "id": "job_phoenix.1",
        "mall": "chandler-fashion-center",
        "stores": ["lego"],
        "lat": 33.3,
        "lon": -111.85,
        "created_ms": START_MS,
        "ready_ms": START_MS,
        "deadline_ms": START_MS + 3_600_000,
        "expires_ms": START_MS + 3_600_000,
    }
    event = {"kind": "job", "job": "job_phoenix.1", "driver": "d1"}
    states = ["", "queued", "offered", "assigned", "at_mall", "picked_up", "delivered"]
    steps = [
        event | {"at": START_MS + number * 60_000, "was": was, "became": became}
        for number, (was, became) in enumerate(itertools.pairwise(states))
    ]
    return [
        {"format": "mallard recording 1", "market": "phoenix"},
        {"job": needed | job_fields},
        *({"event": step} for step in steps),
    ]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stores": []}, ["line 2", "job.stores"]),
        ({"lat": 91}, ["line 2", "job.lat"]),
        ({"id": "a/b"}, ["line 2", "job.id"]),
        ({"created_ms": -1}, ["line 2", "job.created_ms"]),
        ({"created_ms": 10**18}, ["line 2", "job.created_ms"]),
        ({"created_ms": 1, "ready_ms": 1}, ["line 2", "job.created_ms"]),
        ({"ready_ms": START_MS + 400 * DAY_MS}, ["line 2", "job.ready_ms"]),
        ({"expires_ms": START_MS - 1}, ["line 2", "job.expires_ms"]),
        ({"mall": "nowhere"}, ["job_phoenix.1", "nowhere"]),
    ],
)
def test_recording_with_a_bad_job_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], words: list[str]
) -> None:
    write_lines(folder / "day", recorded(**fields))
    line = refused(capsys, "replay", "day", "day")
    assert all(word in line for word in ["day", *words]), line


def test_recording_with_a_bad_line_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, path = recorded(), folder / "day"

    def output(lines: list[dict[str, Any]]) -> str:
        write_lines(path, lines)
        return refused(capsys, "replay", "day", "day")

    assert "line 3: job.id" in output([*good[:2], good[1], *good[2:]])
    assert "line 9" in output([*good, {}])
    late = {"event": good[-1]["event"] | {"at": START_MS + 400 * DAY_MS}}
    assert "line 9: event.at" in output([*good, late])
    unknown = {"event": good[-1]["event"] | {"became": "eaten"}}
    assert "line 9: event.became" in output([*good, unknown])
    head = good[0] | {"jobs": 1, "events": 7}
    assert "cut short: 6 events" in output([head, *good[1:]])
    assert "line 1" in output([good[0] | {"market": "a/b"}, *good[1:]])
    for text in (DEEP, '{"x": ' + DEEP):
        path.write_text(json.dumps(good[0]) + "\n" + text)
        assert "line 2" in refused(capsys, "replay", "day", "day")
    path.write_text(json.dumps(good[0]) + "\n" + json.dumps(good[1])[:-9])
    assert "line 2" in refused(capsys, "replay", "day", "day")


def test_deadline_years_ahead_does_not_replay_years(folder: Path, redis_url: str) -> None:
    from mallard_engine.core.places.markets import Places  # noqa: PLC0415
    from mallard_engine.core.policy import MarketPolicy  # noqa: PLC0415
    from mallard_engine.simulation.recordings.recording import read_recording  # noqa: PLC0415
    from mallard_engine.simulation.recordings.replay import scenario_of  # noqa: PLC0415

    far = START_MS + 20 * 365 * DAY_MS
    write_lines(folder / "day", recorded(deadline_ms=far, expires_ms=far))
    scenario = scenario_of(read_recording(folder / "day"), Places.load(), MarketPolicy())
    assert scenario.end_ms < START_MS + 3 * DAY_MS


def test_recording_replaces_a_file_readable_by_its_owner_only(
    folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "day"
    command = ["replay", "record", str(path), "--market", "phoenix", "--redis", redis_url]
    path.write_text("what others could read")
    path.chmod(0o644)
    assert main(command) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [it.name for it in folder.iterdir()] == ["day"]
    capsys.readouterr()
    command[2] = str(folder / "none" / "day")
    assert "none/day: No such file" in refused(capsys, *command)
