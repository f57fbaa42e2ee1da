"""Every decision record has the same form and stands in the index."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs/adr"
RECORDS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
_STATUS = re.compile(r"Status: accepted\. Date: 20\d\d-\d\d-\d\d\.( Amend(s|ed by) \d{4}\.)*")


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_record_has_title_status_and_sections(record: Path) -> None:
    lines = record.read_text().splitlines()
    assert lines[0].startswith(f"# {record.name[:4]}: ")
    assert _STATUS.fullmatch(lines[2])
    sections = [line for line in lines if line.startswith("## ")]
    assert [section for section in sections if section != "## Alternatives"] == [
        "## Context",
        "## Decision",
        "## Consequences",
    ]


def test_numbers_are_unique() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert len(numbers) == len(set(numbers))


def test_index_lists_every_record_with_its_title() -> None:
    titles = {path.name: path.read_text().splitlines()[0] for path in RECORDS}
    expected = [
        f"- [{name[:4]}]({name}) {title.removeprefix(f'# {name[:4]}: ')}"
        for name, title in titles.items()
    ]
    index = (FOLDER / "README.md").read_text().splitlines()
    assert [line for line in index if line.startswith("- ")] == expected
