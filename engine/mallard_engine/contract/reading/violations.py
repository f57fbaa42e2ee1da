"""Converts validation errors of msgspec to a path and a detail, without input values."""

import re
from typing import NamedTuple

from msgspec import ValidationError

_AT = re.compile(r"^(?P<detail>.*) - at (?:`key` in )?`(?P<path>\$.*)`$", re.DOTALL)
_FIELD = re.compile(
    r"^Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL
)
# These texts quote the input, which may be a token in the wrong field.
_QUOTES_INPUT = re.compile(r"^Invalid (?:enum )?value .*$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MAX_NAME = 100


class Violation(NamedTuple):
    """One validation error. `path` has field names and list indices from the root."""

    path: tuple[str, ...]
    detail: str

    @property
    def pointer(self) -> str:
        """The path as an RFC 6901 JSON pointer; empty for the whole document."""
        return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in self.path)

    def __str__(self) -> str:
        return f"{self.pointer or 'the whole'}: {self.detail}"


def violation(error: ValidationError) -> Violation:
    """Parse the text of an error. The path includes the name of a missing or unknown field."""
    text = str(error)
    path: tuple[str, ...] = ()
    if located := _AT.match(text):
        text = located["detail"]
        path = tuple(name or index for name, index in _STEP.findall(located["path"]))
    if field := _FIELD.match(text):
        path = (*path, field["name"][:_MAX_NAME])
        text = "missing" if field["what"] == "missing required" else "unknown field"
    elif _QUOTES_INPUT.match(text):
        text = "not one of the known values"
    # The look-ahead of the patterns exists for Python only.
    return Violation(path, text.replace(r"(?!\\n)", "").replace("Expected", "expected"))
