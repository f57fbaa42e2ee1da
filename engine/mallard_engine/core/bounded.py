"""Fields of configuration dataclasses that carry their bounds, unit and documentation.

The metadata is the only place where a setting is described: `check_bounds` enforces it when an
instance is built, and `docs/reference/settings.md` is generated from it.
"""

from dataclasses import field, fields
from typing import Any, TypeVar

N = TypeVar("N", int, float)
T = TypeVar("T")


class ConfigError(Exception):
    """A configuration value is invalid.

    The message is for the person who wrote the value. `name` is the field that is out of its
    bounds or contradicts another; empty if no single field is at fault.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


def bounded(default: N, low: float, high: float, unit: str, text: str) -> N:
    """Declare a numeric field.

    Args:
        default: The value when none is configured.
        low: The least allowed value (inclusive).
        high: The greatest allowed value (inclusive).
        unit: The unit for the reference page; empty for a plain count or factor.
        text: What the field does and when to change it, in Markdown.
    """
    number: N = field(
        default=default, metadata={"low": low, "high": high, "unit": unit, "text": text}
    )
    return number


def described(default: T, text: str, *, unit: str = "", secret: bool = False) -> T:
    """Declare a field without bounds: a name, a path, a choice or a list.

    Args:
        default: The value when none is configured.
        text: What the field does and when to change it, in Markdown.
        unit: The unit for the reference page.
        secret: Leave the value out of the `repr`.
    """
    value: T = field(default=default, metadata={"unit": unit, "text": text}, repr=not secret)
    return value


def check_bounds(instance: Any) -> None:
    """Raise `ConfigError` if a bounded field of the dataclass is out of its bounds or a NaN."""
    for item in fields(instance):
        if "low" in item.metadata:
            value, low, high = (
                getattr(instance, item.name),
                item.metadata["low"],
                item.metadata["high"],
            )
            if not low <= value <= high:  # false for a NaN, too
                raise ConfigError(
                    f"{item.name} is {value}, not from {low:g} to {high:g}", item.name
                )
