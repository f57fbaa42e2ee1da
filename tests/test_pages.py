"""The built pages that are committed are those of the sources, complete, and within their sizes."""

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mallard_engine.gateway.pages.files import FOLDER, page_files

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "engine/pages"
NO_SOURCES = {"node_modules", "README.md"}
PAGES = sorted(FOLDER.glob("*.html"))
ADDRESS = re.compile(r'(?:src|href)="(/[^"]+)"')
# What a module needs before it runs, and what it loads when a place is opened.
NEEDED = re.compile(r'(?:from|import)"\./([\w.-]+)"')
LATER = re.compile(r'import\("\./([\w.-]+)"\)|"(?:/?assets/)([\w.-]+\.(?:js|css))"')
# `| console | 48 KB |`: what a page takes at most, compressed.
BUDGET = re.compile(r"^\| (\w+) \|.*\| (\d+) KB \|$", re.MULTILINE)
BUDGETS = dict(BUDGET.findall((ROOT / "docs/howto/pages.md").read_text()))
# What a module loads later, such as the map.
IMPORTED = re.compile(r'["`](?:\./|/?assets/)([\w.-]+\.(?:js|css|svg|png))["`]')
# The lock must install from whatever registry the reader uses.
REGISTRY = re.compile(r'"resolved"|https?://registry')


def sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name not in NO_SOURCES:
            yield from sources(path) if path.is_dir() else [path]


def test_pages_are_built_from_these_sources() -> None:
    digest = hashlib.sha256()
    for path in sorted(sources(SOURCES), key=lambda it: it.relative_to(SOURCES).as_posix()):
        name = path.relative_to(SOURCES).as_posix()
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    built = (FOLDER / "SOURCES.sha256").read_text().strip()
    assert built == digest.hexdigest(), "run `make web` and commit engine/mallard_engine/pages"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_names_only_files_that_are_there(page: Path) -> None:
    addresses = ADDRESS.findall(page.read_text())
    assert addresses
    for address in addresses:
        assert address.removeprefix("/") in page_files(FOLDER), address


def test_no_built_file_is_left_over() -> None:
    built = page_files(FOLDER)
    texts = [file.content.decode() for file in built.values() if file.media_type.startswith("text")]
    named = {name for text in texts for name in IMPORTED.findall(text)}
    named |= {address.rpartition("/")[2] for text in texts for address in ADDRESS.findall(text)}
    left = [path for path in built if path.startswith("assets/") and Path(path).name not in named]
    assert left == []


def with_needed(names: set[str]) -> set[str]:
    """The files with all that they need at once."""
    files = page_files(FOLDER)
    seen: set[str] = set()
    todo = set(names)
    while todo:
        name = todo.pop()
        seen.add(name)
        if name.endswith(".js"):
            needed = NEEDED.findall(files[name].content.decode())
            todo |= {f"assets/{it}" for it in needed} - seen
    return seen


def packed_bytes(names: set[str]) -> int:
    """How many bytes the files take, each compressed by itself."""
    return sum(len(gzip.compress(page_files(FOLDER)[name].content, mtime=0)) for name in names)


def of_page(page: str) -> set[str]:
    found = ADDRESS.findall(page_files(FOLDER)[page].content.decode())
    return with_needed({page, *(address.removeprefix("/") for address in found)})


@pytest.mark.parametrize("page", ["console", "docs", "driver", "shop", "track"])
def test_page_keeps_to_its_size(page: str) -> None:
    assert packed_bytes(of_page(f"{page}.html")) <= int(BUDGETS[page]) * 1000


def test_map_keeps_to_its_size() -> None:
    files, first = page_files(FOLDER), of_page("console.html")
    later: set[str] = set()
    for name in first:
        for pair in LATER.findall(files[name].content.decode()) if name.endswith(".js") else ():
            later |= {f"assets/{it}" for it in pair if it}
    later |= {name for name in files if "maplibre-gl-worker" in name}
    assert 0 < packed_bytes(with_needed(later) - first) <= int(BUDGETS["map"]) * 1000


def test_client_states_the_size_that_its_own_test_keeps() -> None:
    kept = (ROOT / "clients/typescript/tests/size.test.ts").read_text()
    assert f"{BUDGETS['client']} * 1024" in kept or f"{BUDGETS['client']}_000" in kept


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_has_no_inline_script_or_style(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)


def test_lock_names_no_registry() -> None:
    assert not REGISTRY.search((SOURCES / "package-lock.json").read_text())


def test_every_bundled_package_has_its_licence() -> None:
    licences = (FOLDER / "LICENCES.txt").read_text()
    assert re.search(r"^preact [\d.]+ \(MIT\)$", licences, re.MULTILINE)
