"""Adds the contract, `mallard_protocol`, to the client's distributions."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "mallard_protocol"


class ContractHook(BuildHookInterface):
    """In a checkout the contract lies in another folder; in an sdist it lies beside the client."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Include the contract, except in an editable build, whose path file names its folder."""
        if version == "editable":
            return
        in_checkout = Path(self.root).parents[1] / "protocol" / _PACKAGE
        source = in_checkout if in_checkout.is_dir() else Path(self.root) / _PACKAGE
        build_data["force_include"][str(source)] = _PACKAGE
