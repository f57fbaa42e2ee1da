"""The text and the file that describe a bad day."""

from pathlib import Path

import pytest

from mallard_engine.workload.bad_day.events import DEFAULT_SHARES, BadEvent
from mallard_engine.workload.bad_day.spec import BadDayError, read_bad_day


def test_empty_text_means_the_default_shares() -> None:
    assert read_bad_day("", 7).shares == DEFAULT_SHARES
    assert read_bad_day("", 7).seed == 7


def test_only_named_events_happen() -> None:
    day = read_bad_day("missing=0.02, short = 0.03", 1)
    assert day.shares == {BadEvent.MISSING: 0.02, BadEvent.SHORT: 0.03}


def test_shares_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "day.toml"
    file.write_text("[bad_day]\nstorm = 1\nphone_dies = 0.5\n")
    day = read_bad_day(str(file), 1)
    assert day.shares == {BadEvent.STORM: 1.0, BadEvent.PHONE_DIES: 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing=", "missing: '' is not a number"),
        ("missing=x", "missing: 'x' is not a number"),
        ("missing=nan", "missing: nan is not a number"),
        ("missing=inf", "missing: inf is not a number"),
        ("missing=2", "missing is 2, not from 0 to 1"),
        ("missing=-1", "missing is -1, not from 0 to 1"),
        ("missing=0.1,missing=0.2", "missing is named twice"),
        ("missing=0.1,", "'' is not NAME=SHARE"),
        ("=0.1", "'=0.1' is not NAME=SHARE"),
        ("missing=0.1,short", "'short' is not NAME=SHARE"),
        ("lost=0.1", "there is no event 'lost': there are missing, short"),
        ("missing=0.6,late=0.6", "the shares of orders add up to 1.2"),
        ("nowhere.toml", "nowhere.toml: No such file"),
        ("missing", "missing: No such file"),
    ],
)
def test_invalid_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadDayError) as refused:
        read_bad_day(text, 1)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "one table, [bad_day]"),
        (b"[bad_day]\nlate = 0.1\n[other]\n", "one table, [bad_day]"),
        (b"bad_day = 1\n", "one table, [bad_day]"),
        (b"[bad_day]\nlate = true\n", "late: True is not a number"),
        (b'[bad_day]\nlate = "0.1"\n', "late: '0.1' is not a number"),
        (b"[bad_day]\nlate = [0.1]\n", "late: [0.1] is not a number"),
        (b"[bad_day]\nrain = 0.1\n", "no event 'rain'"),
        (b"[bad_day\n", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"#" * 70_000, "over 65,536 bytes"),
    ],
)
def test_invalid_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "day.toml"
    file.write_bytes(content)
    with pytest.raises(BadDayError) as refused:
        read_bad_day(str(file), 1)
    assert str(refused.value).startswith(f"{file}: ")
    assert message in str(refused.value)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDayError):
        read_bad_day(str(tmp_path), 1)
