"""Converts configuration values into the fields of frozen dataclasses."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from mallard_engine.core.bounded import ConfigError

T = TypeVar("T")
_evaluated = cache(get_type_hints)


class ConfigValue(NamedTuple):
    """A value and its origin: a variable, a flag or a key of the file."""

    value: Any
    origin: str


def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a class's fields; to evaluate those of the policy takes a millisecond."""
    return _evaluated(cls)


def flat_names(cls: type, leave_out: Iterable[str] = ()) -> list[str]:
    """Return the flat names of a dataclass's fields.

    The field `idle` of the dataclass in the field `weights` has the flat name `weights_idle`.
    """
    names: list[str] = []
    for name, kind in _hints(cls).items():
        if name in leave_out:
            continue
        if isinstance(kind, type) and is_dataclass(kind):
            names += [f"{name}_{inner}" for inner in flat_names(kind)]
        else:
            names.append(name)
    return names


def build(cls: type[T], values: Mapping[str, ConfigValue], **built: Any) -> T:
    """Build a dataclass from values by flat name.

    Args:
        cls: The dataclass.
        values: The values by flat name.
        built: Fields that have their final value already.

    Raises:
        ConfigError: A value is invalid or unknown; the message names its origin.
    """
    hints = _hints(cls)
    names = flat_names(cls, leave_out=built)
    for name, (_, origin) in values.items():
        if name not in names:
            raise unknown_key(origin, names)
    arguments: dict[str, Any] = dict(built)
    for name, kind in hints.items():
        if name in built:
            continue
        if isinstance(kind, type) and is_dataclass(kind):
            start = f"{name}_"
            inner = {k.removeprefix(start): v for k, v in values.items() if k.startswith(start)}
            arguments[name] = build(kind, inner)
        elif name in values:
            arguments[name] = convert(kind, values[name])
    try:
        return cls(**arguments)
    except ConfigError as error:
        if error.name not in values:
            raise
        raise ConfigError(f"{values[error.name].origin}: {error}", error.name) from None


def unknown_key(origin: str, names: Iterable[str]) -> ConfigError:
    """Return the error for an unknown key, with the closest known name."""
    name = origin.lower().removeprefix("mallard_").rpartition(".")[2].lstrip("-")
    close = difflib.get_close_matches(name, list(names), n=1)
    return ConfigError(f"{origin} is unknown" + (f"; is it {close[0]}?" if close else ""))


def convert(kind: Any, configured: ConfigValue) -> Any:
    """Convert a value to the field's type; variables are text, file and flag values are typed."""
    value, origin = configured
    choices = [choice for choice in get_args(kind) if choice is not NoneType]
    if get_origin(kind) is Literal:
        if value not in choices:
            raise ConfigError(f"{origin} is {value!r}, not one of {', '.join(choices)}")
        return value
    if get_origin(kind) is tuple:
        return _convert_each(choices[0], configured)
    plain = choices[0] if choices else kind  # `X | None` is an X when it is set
    accepted: tuple[type, ...] = {int: (int,), float: (int, float)}.get(plain, (str, Path))
    if isinstance(value, str) or (isinstance(value, accepted) and not isinstance(value, bool)):
        try:
            return plain(value)
        except ValueError:
            pass
    wanted = {int: "a whole number", float: "a number"}.get(plain, "text")
    raise ConfigError(f"{origin} is {value!r}, not {wanted}")


def _convert_each(kind: Any, configured: ConfigValue) -> tuple[Any, ...]:
    """Convert the items of a list; in a variable they are separated by commas."""
    value, origin = configured
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ConfigError(f"{origin} is {value!r}, not a list")
    stripped = [item.strip() if isinstance(item, str) else item for item in items]
    return tuple(convert(kind, ConfigValue(item, origin)) for item in stripped if item != "")
