"""The names, defaults and bounds of all settings are an interface: `public-settings.json` has them.

A new setting needs no entry; an existing one must not change unnoticed.
"""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.config.fields import flat_names
from mallard_engine.config.settings import Settings
from mallard_engine.core.policy import MarketPolicy

PUBLIC = json.loads(Path(__file__).with_name("public-settings.json").read_text())


def described(instance: Any, prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield each field by its flat name, with its default and bounds."""
    for item in fields(instance):
        value = getattr(instance, item.name)
        if is_dataclass(value):
            yield from described(value, f"{prefix}{item.name}_")
            continue
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        yield prefix + item.name, [value, item.metadata.get("low"), item.metadata.get("high")]


@pytest.mark.parametrize(
    ("group", "instance", "names"),
    [
        ("policy", MarketPolicy(), flat_names(MarketPolicy)),
        ("settings", Settings(), flat_names(Settings, leave_out=("policy", "markets"))),
    ],
)
def test_settings_keep_name_default_and_bounds(group: str, instance: Any, names: list[str]) -> None:
    now = dict(described(instance))
    public = PUBLIC[group]
    assert set(public) <= set(names)
    assert {name: now[name] for name in public} == public
    assert {name: type(now[name][0]) for name in public} == {
        name: type(default) for name, (default, *_) in public.items()
    }
