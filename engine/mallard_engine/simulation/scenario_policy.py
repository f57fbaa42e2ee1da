"""Overrides a scenario's policy by a TOML file and by single settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mallard_engine.config.fields import ConfigValue, build, flat_names
from mallard_engine.config.settings import ConfigError
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.input_files import read_toml


def policy_over(
    base: MarketPolicy, file: Path | None = None, settings: Sequence[str] = ()
) -> MarketPolicy:
    """Return the policy, overridden by the file's ``[policy]`` table and ``NAME=VALUE`` settings.

    Raises:
        ConfigError: The file cannot be read, a key is unknown or a value out of bounds.
    """
    ours = ((name, _value(base, name)) for name in flat_names(MarketPolicy))
    values = {name: ConfigValue(value, name) for name, value in ours if value is not None}
    if file is not None:
        values |= _of_file(file)
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: not of the form NAME=VALUE")
        values[name.strip()] = ConfigValue(value.strip(), f"--set {name.strip()}")
    policy = build(MarketPolicy, values)
    # A live market's own travel source is ignored: its replay uses the straight line.
    if policy.travel.source not in {"straight", base.travel.source}:
        raise ConfigError("a simulated day has travel times of its own: leave travel_source alone")
    return policy


def _of_file(path: Path) -> dict[str, ConfigValue]:
    table = read_toml(path)
    policy = table.pop("policy", {})
    if table or not isinstance(policy, dict):
        raise ConfigError(f"{path}: a policy file has one table, [policy]")
    values: dict[str, ConfigValue] = {}
    for name, value in policy.items():
        if isinstance(value, dict):
            values |= {
                f"{name}_{k}": ConfigValue(v, f"{path}: policy.{name}.{k}")
                for k, v in value.items()
            }
        else:
            values[name] = ConfigValue(value, f"{path}: policy.{name}")
    return values


def _value(policy: MarketPolicy, name: str) -> Any:
    if hasattr(policy, name):
        return getattr(policy, name)
    table, _, inner = name.partition("_")
    return getattr(getattr(policy, table), inner)
