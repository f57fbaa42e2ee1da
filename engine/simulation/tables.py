"""Rows of the data's tables, each read with an error that names its file and line."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class TableError(Exception):
    """A table that cannot be read; the message names the file and what is wrong."""


def read_rows(
    path: Path, read: Callable[[Mapping[str, str]], T], *, delimiter: str = ","
) -> list[T]:
    """Each row of the file as ``read`` makes it; at least one. :raises TableError:"""
    rows: list[T] = []
    number = 1
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter=delimiter), start=2):  # noqa: B007
                rows.append(read(row))
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from error
    except KeyError as error:
        raise TableError(f"{path}: there is no column {error.args[0]!r}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise TableError(f"{path}, line {number}: {error}") from error
    if not rows:
        raise TableError(f"{path}: it has no rows")
    return rows
