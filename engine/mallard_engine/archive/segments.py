"""The files of an archive: their names, their order, and the format that each line names."""

import re
from pathlib import Path
from typing import Final

FORMAT: Final = "mallard archive 1"
_SEGMENT: Final = re.compile(r"jobs-(\d{4}-\d\d-\d\d)-(\d{4,})\.jsonl")


def segment_name(day: str, number: int) -> str:
    """Return the name of a segment: the UTC day of its first line, and its number in that day."""
    return f"jobs-{day}-{number:04}.jsonl"


def day_and_number(path: Path) -> tuple[str, int] | None:
    """Return the day and the number of a segment; None: the file is none."""
    match = _SEGMENT.fullmatch(path.name)
    return (match[1], int(match[2])) if match else None


def segments_of(folder: Path) -> list[Path]:
    """Return the segments of an archive, oldest first. Raises `OSError`."""
    found = [(place, it) for it in folder.iterdir() if (place := day_and_number(it))]
    return [path for _, path in sorted(found)]
