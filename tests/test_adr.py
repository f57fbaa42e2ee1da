"""Decision records have one form and are in the index, and every cited record exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs/adr"
RECORDS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
_STATUS = re.compile(r"Status: accepted\. Date: 20\d\d-\d\d-\d\d\.( Amend(s|ed by) \d{4}\.)*")

# A citation by number or path, and further numbers that follow it ("ADR 0012, 0013 and 0014").
_CITED = re.compile(r"(?:\bADRs?[\s#]+|\badr/)\d{4}\b(?:(?:,\s*|,?\s+and\s+|\s+to\s+)\d{4}\b)*")


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


def test_every_cited_record_exists() -> None:
    known = {record.name[:4] for record in RECORDS}
    cited = {
        (str(path.relative_to(ROOT)), number)
        for path in _texts()
        for citation in _CITED.findall(path.read_text(encoding="utf-8"))
        for number in re.findall(r"\d{4}", citation)
    }
    assert cited
    assert sorted((name, number) for name, number in cited if number not in known) == []


def _texts() -> Iterator[Path]:
    """The documents and sources of the repository."""
    yield from ROOT.glob("*.md")
    for folder in ("protocol", "clients", "engine", "load_tests", "tests", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".lua", ".md", ".toml"}:
                yield path
