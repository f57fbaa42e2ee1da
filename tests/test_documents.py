"""The documents name files, modules and commands that exist."""

import ast
import importlib.util
import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest

import mallard_client

ROOT = Path(__file__).parent.parent
# Documents whose every name in backticks is checked.
CHECKED = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md")
# A path without a top-level folder is one of the engine's.
BASES = (ROOT, ROOT / "engine/mallard_engine")
PACKAGES = ("load_tests", "mallard_client", "mallard_engine", "mallard_protocol", "tests")
EVERY_DOCUMENT = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("", "docs", "load_tests", "tests", "clients", "engine")
    for path in (ROOT / folder).glob("**/*.md" if folder else "*.md")
    if not any(
        part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts
    )
)
FOR_USERS = [
    document
    for document in EVERY_DOCUMENT
    if document.startswith("docs/howto/") or document in CHECKED
]

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*/|([\w.-]+/)+[\w.-]+|[\w-]+\.(py|lua|toml|md|lock)")
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def text_of(document: str) -> str:
    return _CODE_BLOCK.sub("", (ROOT / document).read_text())


def names_in(document: str) -> list[str]:
    return _IN_BACKTICKS.findall(text_of(document))


def commands(program: str) -> set[str]:
    """What the documents for users call of a program, in backticks or in indented lines."""
    before = r"(?:`|^ {4,})(?:[A-Z_]+=\S+ )*(?:\S*/)?"
    call = re.compile(rf"{before}{program} ([a-z][a-z-]*)", re.MULTILINE)
    found = {name for each in FOR_USERS for name in call.findall((ROOT / each).read_text())}
    assert found
    return found


def test_packages_have_the_version_of_the_newest_release() -> None:
    [release, *_] = re.findall(r"^## ([0-9.]+) ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    for package in ("engine", "clients/python"):
        project = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
        assert project["version"] == release, package
    for file in ("package.json", "package-lock.json"):
        found = json.loads((ROOT / "clients/typescript" / file).read_text())
        assert found["version"] == release, file


def test_no_document_holds_both_sides_of_a_conflict() -> None:
    """A merge that was committed unresolved; in code the linter finds it."""
    marks = ("<<<<<<< ", ">>>>>>> ")
    held = [it for it in EVERY_DOCUMENT if any(mark in text_of(it) for mark in marks)]
    assert not held


@pytest.mark.parametrize("document", CHECKED)
def test_named_paths_exist(document: str) -> None:
    paths = [name for name in names_in(document) if _PATH.fullmatch(name)]
    missing = [name for name in paths if not any((base / name).exists() for base in BASES)]
    assert not missing


@pytest.mark.parametrize("document", CHECKED)
def test_named_modules_exist(document: str) -> None:
    dotted = re.compile(rf"({'|'.join(PACKAGES)})(\.[a-z_0-9]+)+")
    modules = {match[0] for name in names_in(document) for match in dotted.finditer(name)}
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert commands("make") <= targets


# A measurement names the command of its commit.
@pytest.mark.parametrize("document", [it for it in EVERY_DOCUMENT if "/measurements/" not in it])
def test_modules_that_commands_run_exist(document: str) -> None:
    run = re.compile(rf"python -m\s+((?:{'|'.join(PACKAGES)})(?:\.[a-z_0-9]+)*)")
    modules = set(run.findall((ROOT / document).read_text()))
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


def test_named_commands_exist() -> None:
    folder = ROOT / "engine/mallard_engine/cli/commands"
    assert not [name for name in commands("mallard") if not (folder / f"{name}.py").exists()]


@pytest.mark.parametrize("document", FOR_USERS)
def test_samples_compile_and_import_what_exists(document: str) -> None:
    for code in _PYTHON.findall((ROOT / document).read_text()):
        tree = ast.parse(code)
        compile(tree, document, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        names = [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "mallard_client"
            for alias in node.names
        ]
        assert set(names) <= set(mallard_client.__all__)


@pytest.mark.parametrize("document", EVERY_DOCUMENT)
def test_links_lead_to_files(document: str) -> None:
    links = [match[1] for match in _LINK.finditer(text_of(document))]
    local = [link for link in links if ":" not in link]
    folder = (ROOT / document).parent
    assert not [link for link in local if not (folder / link).exists()]


def test_the_demo_picture_is_what_its_script_draws() -> None:
    draw = runpy.run_path(str(ROOT / "docs/demo_screen.py"))["draw"]
    assert (ROOT / "docs/demo.svg").read_text(encoding="utf-8") == draw()
