"""The arrows between the packages: who may import what."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIRST_PARTY = ("clients", "engine", "load_tests", "protocol", "tests")
LEAVES = (
    "mallard_engine.config.settings",
    "mallard_engine.config.fields",
    "mallard_engine.input_files",
    "mallard_engine.logs",
    "mallard_engine.config.market_policy",
    "mallard_engine.metrics",
)

# Folder → the first-party modules (with what is in them) that it may import.
FIRST_PARTY_ARROWS = {
    "protocol": ("protocol",),
    "engine/mallard_engine/core": ("mallard_engine.core", "mallard_protocol.codes", "mallard_protocol.lifecycle"),
    "engine/mallard_engine/dispatch": ("mallard_engine.dispatch", "mallard_engine.core", "mallard_engine.ports", "protocol", *LEAVES),
    "engine/mallard_engine/storage": ("mallard_engine.storage", "mallard_engine.core", "mallard_engine.ports", "protocol", *LEAVES),
    # Sources of travel times: a port of the dispatcher's, in the words of the rules.
    "engine/mallard_engine/travel": ("mallard_engine.travel", "mallard_engine.core", *LEAVES),
    "engine/mallard_engine/gateway": (
        *("mallard_engine.gateway", "mallard_engine.dispatch", "mallard_engine.core", "mallard_engine.ports", "protocol"),
        *LEAVES,
    ),
    "engine/mallard_engine/simulation": (
        *("mallard_engine.simulation", "mallard_engine.dispatch", "mallard_engine.storage", "mallard_engine.core", "mallard_engine.ports"),
        *("mallard_engine.workload.demand", "mallard_engine.workload.random_points"),
        *("protocol", *LEAVES),
    ),
    # The engine as a contestant: its parts, put together without a gateway.
    "load_tests/benchmarks/engine": (
        *("load_tests.benchmarks.engine", "mallard_engine.storage", "mallard_engine.dispatch", "mallard_engine.core", "mallard_engine.ports"),
        *("mallard_engine.travel", "protocol", *LEAVES),
    ),
    "clients": ("clients", "protocol"),
    "load_tests": ("load_tests", "clients", "protocol"),
}
# Folder → the packages of others that it may import; folders not named may import any.
THIRD_PARTY_ARROWS = {
    "load_tests/benchmarks/engine": ("msgspec", "numpy", "structlog", "uvloop"),
    "protocol": ("msgpack", "msgspec"),
    "engine/mallard_engine/travel": (
        *("httpx2", "msgspec", "numpy", "scipy", "structlog"),
        *("osmium", "routingkit_cch"),
    ),
    "engine/mallard_engine/core": ("numpy", "scipy", "shapely"),
    "engine/mallard_engine/dispatch": ("structlog",),
    "clients": ("httpx2", "msgspec", "websockets"),
}
# What would let the world into the rules: they are told the time, and nothing is left to chance.
WORLDLY = {"asyncio", "os", "random", "secrets", "socket", "threading", "time"}
# The composition root alone puts a store under the gateway.
COMPOSITION_ROOT = ROOT / "engine/mallard_engine/gateway/node.py"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: import by the full name"
            assert node.module
            yield node.module


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FIRST_PARTY_ARROWS)
def test_arrows_between_our_packages(folder: str) -> None:
    for path in modules(folder):
        allowed = FIRST_PARTY_ARROWS[folder]
        if path == COMPOSITION_ROOT:
            allowed = (*allowed, "mallard_engine.storage", "mallard_engine.travel")
        for module in imports(path):
            if is_in(module, FIRST_PARTY):
                assert is_in(module, allowed), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("folder", THIRD_PARTY_ARROWS)
def test_arrows_to_the_packages_of_others(folder: str) -> None:
    for path in modules(folder):
        for module in imports(path):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in FIRST_PARTY:
                known = THIRD_PARTY_ARROWS[folder]
                assert top in known, f"{path.relative_to(ROOT)} imports {module}"


def test_the_rules_know_no_world() -> None:
    for path in modules("engine/mallard_engine/core"):
        worldly = WORLDLY.intersection(imports(path))
        assert not worldly, f"{path.relative_to(ROOT)} imports {worldly}"
