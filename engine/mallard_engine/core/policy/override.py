"""What operators set of a market's policy while it runs, on top of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from mallard_engine.core.policy.market import MarketPolicy


@dataclass(frozen=True, slots=True)
class PolicyOverride:
    """One version of what operators have set.

    Attributes:
        version: It rises with each change; 0: nothing was ever set.
        preset: The preset; empty: that of the configuration.
        set: Values by flat name, such as `offer_timeout_ms` or `weights_idle_s`.
        actor: Who set it.
        at_ms: When.
    """

    version: int = 0
    preset: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)
    actor: str = ""
    at_ms: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the configuration counts alone."""
        return not self.preset and not self.set


def flat_values(policy: MarketPolicy) -> dict[str, Any]:
    """Return the values of a policy by flat name."""
    return _flat(policy, "")


def _flat(group: Any, start: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in fields(group):
        value = getattr(group, item.name)
        if is_dataclass(value):
            values |= _flat(value, f"{start}{item.name}_")
        else:
            values[start + item.name] = value
    return values
