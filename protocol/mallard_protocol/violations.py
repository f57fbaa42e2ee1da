"""What a validation error of msgspec says: a path and a detail, with no value of the input."""

import re
from typing import NamedTuple

from msgspec import ValidationError

_AT = re.compile(r"^(?P<detail>.*) - at (?:`key` in )?`(?P<path>\$.*)`$", re.DOTALL)
_FIELD = re.compile(
    r"^Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL
)
# These two quote what was sent, which may be a token in the wrong place.
_QUOTES_INPUT = re.compile(r"^Invalid (?:enum )?value .*$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MAX_NAME = 100


class Violation(NamedTuple):
    """One thing that is wrong. ``path``: field names and list indices from the root."""

    path: tuple[str, ...]
    detail: str

    @property
    def pointer(self) -> str:
        """The path as an RFC 6901 JSON pointer; empty for the whole document."""
        return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in self.path)

    def __str__(self) -> str:
        return f"{self.pointer or 'the whole'}: {self.detail}"


def violation(error: ValidationError) -> Violation:
    """Take an error's text apart. A missing or unknown field is named by the path."""
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
    # The look-ahead of our patterns is Python's business only.
    return Violation(path, text.replace(r"(?!\\n)", "").replace("Expected", "expected"))
