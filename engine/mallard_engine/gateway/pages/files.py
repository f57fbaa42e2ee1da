"""The built files of the pages, ready to be sent.

`make web` builds them from `engine/pages` into the package. They are listed once, and a request
is only looked up in that list: no path of a request ever reaches the file system.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "pages"
ASSETS: Final = "assets"
"""The folder of the files whose names hold a digest of their content."""
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PACKED_ALREADY: Final = frozenset({".png", ".woff2"})
# Below this, the packed form is hardly smaller.
_LEAST_PACKED_BYTES: Final = 512
_DIGEST_BYTES: Final = 12


@dataclass(frozen=True)
class PageFile:
    """A file, which is read and compressed when it is first asked for and kept from then on."""

    path: Path

    @property
    def media_type(self) -> str:
        """Its media type."""
        return _MEDIA_TYPES[self.path.suffix]

    @cached_property
    def content(self) -> bytes:
        """Its content."""
        return self.path.read_bytes()

    @cached_property
    def packed(self) -> bytes | None:
        """Its content under gzip; None if that saves nothing."""
        if self.path.suffix in _PACKED_ALREADY or len(self.content) < _LEAST_PACKED_BYTES:
            return None
        return gzip.compress(self.content, mtime=0)

    @cached_property
    def tag(self) -> str:
        """Its entity tag, the same for both forms and therefore weak (RFC 9110, 8.8.1)."""
        digest = hashlib.blake2b(self.content, digest_size=_DIGEST_BYTES).hexdigest()
        return f'W/"{digest}"'


@dataclass(frozen=True)
class StyledPage(PageFile):
    """The console, with the style of its map in its head, from where the page reads it."""

    map_style_url: str

    @cached_property
    def content(self) -> bytes:
        """Its content, with the address in it."""
        meta = f'<meta name="mallard-map-style" content="{escape(self.map_style_url)}" />'
        return self.path.read_bytes().replace(b"</head>", meta.encode() + b"</head>", 1)


@cache
def page_files(folder: Path = FOLDER) -> Mapping[str, PageFile]:
    """Return the files of a folder that can be served, by their path in it."""
    return {
        path.relative_to(folder).as_posix(): PageFile(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MEDIA_TYPES and path.is_file()
    }


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` allows gzip (RFC 9110, 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "").removeprefix("q=").strip("0.") != "" or not quality
    return False
