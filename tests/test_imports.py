"""The arrows between the packages: who may import what."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIRST_PARTY = ("load_tests", "mallard_client", "mallard_engine", "mallard_protocol", "tests")
# The folder that each package is in.
HOMES = {
    "load_tests": ROOT,
    "mallard_client": ROOT / "clients/python",
    "mallard_engine": ROOT / "engine",
    "mallard_protocol": ROOT / "protocol",
}
LEAVES = tuple(
    f"mallard_engine.{leaf}" for leaf in ("config", "input_files", "logs", "metrics", "tasks")
)


def engine(*parts: str) -> tuple[str, ...]:
    return tuple(f"mallard_engine.{part}" for part in parts)


# Package → the first-party modules (with what is in them) that it may import.
FIRST_PARTY_ARROWS = {
    "mallard_protocol": ("mallard_protocol",),
    "mallard_client": ("mallard_client", "mallard_protocol"),
    "mallard_engine.contract": (*engine("contract"), "mallard_protocol"),
    "mallard_engine.core": (
        *engine("core"),
        *("mallard_protocol.codes", "mallard_protocol.events", "mallard_protocol.lifecycle"),
    ),
    "mallard_engine.dispatch": (
        *engine("dispatch", "core", "ports"),
        *("mallard_protocol", *LEAVES),
    ),
    "mallard_engine.storage": (
        *engine("storage", "contract.transitions", "contract.webhooks", "core", "ports"),
        *("mallard_protocol", *LEAVES),
    ),
    # Sources of travel times: a port of the dispatcher's, in the words of the rules.
    "mallard_engine.travel": (*engine("travel", "core"), *LEAVES),
    "mallard_engine.gateway": (
        *engine("gateway", "contract", "dispatch", "core", "ports"),
        *("mallard_protocol", *LEAVES),
    ),
    "mallard_engine.archive": (
        *engine("archive", "gateway", "storage", "core", "ports"),
        *("mallard_protocol", *LEAVES),
    ),
    "mallard_engine.workload": (
        *engine("workload", "core", "storage.embedded"),
        *("mallard_client", "mallard_protocol", *LEAVES),
    ),
    # Robots use the public contract only, as every driver, shop and operator does.
    "mallard_engine.sandbox": (
        *engine("sandbox", "contract.sandbox", "workload", "core", "ports"),
        *("mallard_client", "mallard_protocol", *LEAVES),
    ),
    "mallard_engine.simulation": (
        *engine("simulation", "dispatch", "storage", "core", "ports"),
        *engine("archive.segments", "charts", "workload.demand", "workload.random_points"),
        *engine("workload.bad_day", "workload.behaviour", "workload.road"),
        *("mallard_protocol", *LEAVES),
    ),
    # Load tests and peers know the contract only; the engine's parts are contestants of benchmarks.
    "load_tests": (
        *("load_tests", "mallard_client", "mallard_protocol"),
        *engine("charts", "workload"),
    ),
    "load_tests.benchmarks.engine": (
        *("load_tests.benchmarks", "load_tests.attacks.payloads", "mallard_protocol"),
        *engine("contract", "storage", "dispatch", "core", "ports", "travel", "gateway.socket"),
        *LEAVES,
    ),
    "load_tests.benchmarks.geofence": (
        "load_tests.benchmarks.geofence",
        *engine("core", "simulation"),
    ),
}
# Package → the packages of others that it may import; packages not named may import any.
THIRD_PARTY_ARROWS = {
    "load_tests.benchmarks.engine": ("msgspec", "numpy", "structlog", "uvloop"),
    "mallard_protocol": ("msgspec",),
    "mallard_engine.contract": ("msgpack", "msgspec"),
    "mallard_engine.travel": (
        *("httpx2", "msgspec", "numpy", "scipy", "structlog"),
        *("osmium", "routingkit_cch"),
    ),
    "mallard_engine.core": ("numpy", "scipy", "shapely"),
    "mallard_engine.dispatch": ("structlog",),
    "mallard_client": ("httpx2", "msgspec", "standardwebhooks", "websockets"),
}
# What would let the world into the rules: time is an argument, and nothing is left to chance.
WORLDLY = {"asyncio", "os", "random", "secrets", "socket", "threading", "time"}
# The composition root alone puts a Redis under the gateway.
COMPOSITION_ROOT = ROOT / "engine/mallard_engine/gateway/node.py"
# A folder with more files than this, its `__init__.py` included, is several subjects.
MOST_FILES = 16


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


def folder(package: str) -> Path:
    return HOMES[package.partition(".")[0]] / package.replace(".", "/")


def modules(package: str) -> list[Path]:
    """Return the package's modules without those of packages that have arrows of their own."""
    others = [folder(it) for it in FIRST_PARTY_ARROWS if it.startswith(f"{package}.")]
    found = sorted(folder(package).rglob("*.py"))
    assert found, package
    return [path for path in found if not any(path.is_relative_to(other) for other in others)]


@pytest.mark.parametrize("package", FIRST_PARTY_ARROWS)
def test_arrows_between_our_packages(package: str) -> None:
    for path in modules(package):
        allowed = FIRST_PARTY_ARROWS[package]
        if path == COMPOSITION_ROOT:
            allowed = (*allowed, *engine("storage", "travel"))
        for module in imports(path):
            if is_in(module, FIRST_PARTY):
                assert is_in(module, allowed), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("package", THIRD_PARTY_ARROWS)
def test_arrows_to_the_packages_of_others(package: str) -> None:
    for path in modules(package):
        for module in imports(path):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in FIRST_PARTY:
                known = THIRD_PARTY_ARROWS[package]
                assert top in known, f"{path.relative_to(ROOT)} imports {module}"


def test_core_knows_no_clock_loop_or_chance() -> None:
    for path in modules("mallard_engine.core"):
        worldly = WORLDLY.intersection(imports(path))
        assert not worldly, f"{path.relative_to(ROOT)} imports {worldly}"


def test_no_folder_holds_more_files_than_a_subject() -> None:
    for home in HOMES:
        for path in [folder(home), *folder(home).rglob("*/")]:
            count = len(list(path.glob("*.py")))
            assert count <= MOST_FILES, f"{path.relative_to(ROOT)} holds {count} files"


def test_many_tests_or_scripts_are_sorted_into_folders() -> None:
    """Tests of several subjects, and scripts that change several things, are in folders.

    The parts that scripts include stay in one folder: they include each other.
    """
    scripts = folder("mallard_engine.storage") / "lua"
    for home, pattern in ((ROOT / "tests", "*.py"), (scripts, "*.lua")):
        for path in [home, *home.rglob("*/")]:
            folders = [it for it in path.iterdir() if it.is_dir() and it.name != "__pycache__"]
            count = len(list(path.glob(pattern)))
            is_flat = count > MOST_FILES and not folders and path.name != "lib"
            assert not is_flat, f"{path.relative_to(ROOT)} holds {count} files"


def test_engine_loads_scipy_only_where_it_needs_it() -> None:
    """It is a quarter of what every command loads, and few markets have batches or roads."""
    for path in sorted(folder("mallard_engine").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names]
                assert not any(name.partition(".")[0] == "scipy" for name in names), path
