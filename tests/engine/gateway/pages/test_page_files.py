"""The pages and their files over HTTP: what is served, with which headers, and what is not."""

import gzip
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mallard_engine.gateway.pages.files import PageFile, accepts_gzip, page_files
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.http_support import problem
from tests.engine.gateway.raw_client import RawClient

PAGES = ("/console", "/docs", "/driver", "/shop")
ASSET = re.compile(r'"(/assets/[^"]+\.js)"')


async def asset_of(node: RunningNode, page: str = "/docs") -> str:
    found = ASSET.search((await node.http.get(page)).text)
    assert found
    return found[1]


@pytest.mark.parametrize("page", PAGES)
async def test_page_is_html_that_keeps_to_itself(node: RunningNode, page: str) -> None:
    answer = await node.http.get(f"{page}?utm_source=x&a=1&a=2")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers


async def test_style_of_the_map_widens_the_policy_of_the_console_alone(
    engine_node: Callable[..., Awaitable[RunningNode]],
) -> None:
    style = "https://maps.example/a'b/style.json"
    node = await engine_node(map_style_url=style)
    console = await node.http.get("/console")
    assert '<meta name="mallard-map-style" content="https://maps.example/a&#x27;b/' in console.text
    plain = (await node.http.get("/shop")).headers["content-security-policy"]
    for path in ("/console", await asset_of(node)):
        policy = (await node.http.get(path)).headers["content-security-policy"]
        assert policy.count("https://maps.example") == 2
        assert policy.replace(" https://maps.example", "") == plain
    for page in set(PAGES) - {"/console"}:
        headers = (await node.http.get(page)).headers
        assert "maps.example" not in headers["content-security-policy"]


async def test_every_answer_of_a_page_has_the_policy(node: RunningNode) -> None:
    """Each built file too: a worker and an image keep to the policy of their own answer."""
    paths = [f"/{name}" for name in page_files() if not name.endswith(".html")]
    for path in (*PAGES, f"/track/{'x' * 24}", *paths):
        headers = (await node.http.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), path
        assert "frame-ancestors 'none'" in policy, path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path
        assert "set-cookie" not in headers, path


async def test_only_the_driver_app_may_use_position_and_camera(node: RunningNode) -> None:
    for page in PAGES:
        allowed = (await node.http.get(page)).headers["permissions-policy"]
        is_driver = page == "/driver"
        assert ("geolocation=(self)" in allowed) == is_driver
        assert ("camera=(self)" in allowed) == is_driver
        assert ("camera=()" in allowed) != is_driver


async def test_hashed_file_is_kept_for_ever(node: RunningNode) -> None:
    answer = await node.http.get(await asset_of(node))
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_file_is_compressed_for_those_who_take_it(node: RunningNode) -> None:
    path = await asset_of(node)
    packed = await node.http.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    plain = await node.http.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("header", "accepts"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP ; q=0.5", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("xgzip", False),
    ],
)
def test_gzip_is_sent_only_if_accept_encoding_allows_it(header: str, accepts: bool) -> None:
    assert accepts_gzip(header) == accepts


async def test_known_page_is_not_sent_again(node: RunningNode) -> None:
    first = await node.http.get("/shop")
    tag = first.headers["etag"]
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = await node.http.get("/shop", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["content-security-policy"]
    other = await node.http.get("/shop", headers={"If-None-Match": '"x"'})
    assert other.status_code == 200
    problem(await node.http.get("/shop", headers={"If-None-Match": "x"}), 400, "bad_request")


async def test_head_has_the_headers_of_get(node: RunningNode) -> None:
    for path in ("/console", await asset_of(node)):
        head = await node.http.head(path)
        full = await node.http.get(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "etag", "content-type", "content-security-policy"):
            assert head.headers[name] == full.headers[name]


async def test_page_takes_no_other_method(node: RunningNode) -> None:
    for path in (*PAGES, await asset_of(node)):
        problem(await node.http.post(path), 405, "method_not_allowed")
        problem(await node.http.delete(path), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/assets",
        "/assets/",
        "/assets/missing.js",
        "/assets/../console.html",
        "/assets/..%2fconsole.html",
        "/assets/%2e%2e/console.html",
        "/assets/..%5cconsole.html",
        "/assets/....//....//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets//etc/passwd",
        "/assets/shop.js%00.html",
        "/driver/",
        "/driver/../files.py",
        "/driver/..%2fLICENCES.txt",
        "/console/",
        "/console.html",
        "/shop/index.html",
        "/SOURCES.sha256",
        "/pages/console.html",
        "/Console",
    ],
)
async def test_unknown_path_is_not_found(node: RunningNode, path: str) -> None:
    # Raw: a client's library would resolve the dots.
    async with await RawClient.open(node.server.port) as client:
        answer = await client.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_pages_do_not_count_against_an_address(
    engine_node: Callable[..., Awaitable[RunningNode]],
) -> None:
    node = await engine_node(address_rate_per_s=0.001, address_burst=2)
    for _ in range(5):
        assert (await node.http.get("/console")).status_code == 200
    assert [(await node.http.get("/v1/jobs")).status_code for _ in range(3)] == [401, 401, 429]


def test_small_and_packed_files_are_not_compressed(tmp_path: Path) -> None:
    for name, content in (("a.svg", b"<svg/>"), ("b.png", b"x" * 2000), ("c.js", b"x" * 2000)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("not served")
    files = page_files(tmp_path)
    assert sorted(files) == ["a.svg", "b.png", "c.js"]
    assert files["a.svg"].packed is None
    assert files["b.png"].packed is None
    assert gzip.decompress(files["c.js"].packed or b"") == b"x" * 2000


def test_tag_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "b.js").write_text("2")
    assert PageFile(tmp_path / "a.js").tag != PageFile(tmp_path / "b.js").tag
