"""Checks what operators set of a policy as the configuration is checked, and applies it.

A travel source belongs to the node: it names files and servers, so operators cannot set it.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple, get_type_hints

from mallard_engine.config.fields import ConfigValue, build, convert, unknown_key
from mallard_engine.core.bounded import ConfigError
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.policy.override import PolicyOverride, flat_values

_OF_THE_NODE: Final = "travel_"
_PRESET: Final = "preset"


class Violation(NamedTuple):
    """What is wrong with one value; `name`: its flat name, empty if no single one is at fault."""

    name: str
    detail: str


class _Kind(NamedTuple):
    hint: Any
    low: float | None
    high: float | None


def applied(base: MarketPolicy, override: PolicyOverride) -> MarketPolicy:
    """Return the policy with what operators have set.

    Raises:
        ConfigError: they contradict each other.
    """
    if override.is_empty:
        return base
    values = {name: value for name, value in flat_values(base).items() if value is not None}
    values |= override.set
    if override.preset:
        values[_PRESET] = override.preset
    return build(MarketPolicy, {name: ConfigValue(it, name) for name, it in values.items()})


def violations(base: MarketPolicy, override: PolicyOverride) -> list[Violation]:
    """Return everything that is wrong with what an operator sets; empty: it is good."""
    found = [
        Violation(name, detail)
        for name, value in override.set.items()
        if (detail := _wrong(name, value))
    ]
    rest = {name: value for name, value in override.set.items() if name not in dict(found)}
    while True:
        try:
            applied(base, PolicyOverride(preset=override.preset, set=rest))
        except ConfigError as error:
            found.append(Violation(error.name if error.name in rest else "", str(error)))
            if rest.pop(error.name, None) is None:
                return found
        else:
            return found


def _wrong(name: str, value: Any) -> str:
    """Return what is wrong with a value by itself; empty: nothing."""
    kind = _KINDS.get(name)
    if name == _PRESET:
        return "it has a field of its own: `preset`"
    if name.startswith(_OF_THE_NODE):
        return "the source of travel times is set on the node"
    if kind is None:
        return str(unknown_key(name, _KINDS))
    try:
        converted = convert(kind.hint, ConfigValue(value, name))
    except (ConfigError, OverflowError, TypeError) as error:
        return str(error)
    if kind.low is not None and kind.high is not None and not kind.low <= converted <= kind.high:
        return f"{name} is {converted}, not from {kind.low:g} to {kind.high:g}"
    return ""


def _kinds(group: type, start: str = "") -> Mapping[str, _Kind]:
    hints = get_type_hints(group)
    found: dict[str, _Kind] = {}
    for item in fields(group):
        hint = hints[item.name]
        if isinstance(hint, type) and is_dataclass(hint):
            found |= _kinds(hint, f"{start}{item.name}_")
        else:
            data = item.metadata
            found[start + item.name] = _Kind(hint, data.get("low"), data.get("high"))
    return found


_KINDS: Final = _kinds(MarketPolicy)
