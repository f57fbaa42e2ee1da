"""Serves the pages and their files.

A page is not part of the API that programs use: it is HTML that signs in and calls the API like any
other client. So pages take no token and are not in the contract's table of operations, but
for the contract's own page.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.gateway.http.entity_tags import is_known
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.routing import PublicHandler
from mallard_engine.gateway.pages.files import (
    ASSETS,
    PageFile,
    StyledPage,
    accepts_gzip,
    page_files,
)

DRIVER: Final = "driver"
CONSOLE: Final = "console"
_PAGES: Final = (CONSOLE, DRIVER, "shop")
_PREFIXES: Final = frozenset({*_PAGES, ASSETS})
# Only resources of this origin: no inline script or style, and no framing by other pages. The host
# of a map's style, if there is one, may be asked for data and pictures besides.
_CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{map}; "
    "font-src 'self'; media-src 'self' blob:; connect-src 'self'{map}; worker-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DENIED: Final = "geolocation=(), camera=(), microphone=(), payment=(), usb=()"
_OF_DRIVER: Final = "geolocation=(self), camera=(self), microphone=(), payment=(), usb=()"
# A year, the most that caches honour (RFC 9111, 5.2.2.1 sets no limit; RFC 2616 did).
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"


def security_headers(page: str, map_origin: str = "") -> dict[str, str]:
    """Return the headers that keep a page, or a file of it, to itself and the map's host."""
    return {
        "content-security-policy": _CONTENT_POLICY.format(map=map_origin and f" {map_origin}"),
        "referrer-policy": "no-referrer",
        "permissions-policy": _OF_DRIVER if page == DRIVER else _DENIED,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def is_page(path: str) -> bool:
    """Whether a path is that of a page or a file, which is cheap to serve."""
    return path.removeprefix("/").partition("/")[0] in _PREFIXES


class PageRoutes:
    """Handlers of the pages and their files.

    Args:
        files: what is served; None: the built files.
        map_style_url: of the console's map.
    """

    def __init__(
        self, files: Mapping[str, PageFile] | None = None, map_style_url: str | None = None
    ) -> None:
        self._files = page_files() if files is None else files
        self._map_origin = ""
        if map_style_url is not None:
            parts = urlsplit(map_style_url)
            self._map_origin = f"{parts.scheme}://{parts.netloc}"
            page = f"{CONSOLE}.html"
            self._files = {**self._files, page: StyledPage(self._files[page].path, map_style_url)}

    def handlers(self) -> dict[str, PublicHandler]:
        """Return the handlers by the operation's name."""
        return {"getDocumentationPage": self.page}

    def routes(self) -> list[Route]:
        """Return the routes: each page, the hashed files of all, and the driver app's own files.

        A service worker controls what lies beside it, so that of the driver app is below `/driver`.
        """
        return [
            *(Route(f"/{page}", self.page, methods=["GET"], name=page) for page in _PAGES),
            Route(f"/{ASSETS}/{{file}}", self.asset, methods=["GET"]),
            Route(f"/{DRIVER}/{{file}}", self.driver_file, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """Return a page. A browser's address may have any query."""
        name = request.url.path.removeprefix("/")
        return await self._answer(request, f"{name}.html", _ASK_AGAIN, name)

    async def asset(self, request: Request) -> Response:
        """Return a file whose name changes with its content."""
        file: str = request.path_params["file"]
        return await self._answer(request, f"{ASSETS}/{file}", _FOR_EVER, "")

    async def driver_file(self, request: Request) -> Response:
        """Return a file of the driver app that keeps its name: its worker, manifest and icons."""
        file: str = request.path_params["file"]
        response = await self._answer(request, f"{DRIVER}/{file}", _ASK_AGAIN, DRIVER)
        # The page itself is `/driver`, without a slash at its end.
        response.headers["service-worker-allowed"] = f"/{DRIVER}"
        return response

    async def _answer(self, request: Request, path: str, cache: str, page: str) -> Response:
        file = self._files.get(path)
        if file is None:
            raise not_found("file")
        # The first time it is read and compressed, which takes tens of milliseconds for the map.
        packed = await asyncio.to_thread(_warm, file)
        # A worker keeps to the policy of its own file, and that of the map is a hashed one.
        asks_map_host = page == CONSOLE or path.startswith(f"{ASSETS}/")
        headers = {
            **security_headers(page, self._map_origin if asks_map_host else ""),
            "cache-control": cache,
            "etag": file.tag,
            "vary": "Accept-Encoding",
        }
        if is_known(request, file.tag):
            return Response(status_code=304, headers=headers)
        content = file.content
        if packed is not None and accepts_gzip(request.headers.get("accept-encoding", "")):
            content, headers["content-encoding"] = packed, "gzip"
        return Response(content, headers=headers, media_type=file.media_type)


def _warm(file: PageFile) -> bytes | None:
    """Return the compressed form; after this call, no other part of the file needs the disk."""
    _ = file.tag
    return file.packed
