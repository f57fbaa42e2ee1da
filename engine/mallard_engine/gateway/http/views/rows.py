"""The rows of a page, each converted on its own."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import structlog

_Row = TypeVar("_Row")
_View = TypeVar("_View")
_log = structlog.get_logger(__name__)
# Rows that failed to convert are remembered, up to this number, so that each is logged once.
_MAX_LOGGED: Final = 1_000
_logged: set[str] = set()


def views_of(
    rows: Iterable[_Row], view: Callable[[_Row], _View], name: Callable[[_Row], str]
) -> tuple[_View, ...]:
    """Convert the rows of a page.

    A row that fails to convert is left out and logged once, so that one bad row does not hide the
    others.
    """
    views = [_view_or_none(view, row, name(row)) for row in rows]
    return tuple([each for each in views if each is not None])


def _view_or_none(view: Callable[[_Row], _View], row: _Row, name: str) -> _View | None:
    try:
        return view(row)
    except Exception as error:  # noqa: BLE001 - one bad row must not hide the others
        if name not in _logged and len(_logged) < _MAX_LOGGED:
            _logged.add(name)
            _log.error("row cannot be shown", row=name, error=repr(error))
        return None
