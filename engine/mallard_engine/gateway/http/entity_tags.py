"""Entity tags and the conditions of requests on them (RFC 9110, 8.8.3 and 13.1).

A job's tag has two parts: its order and state, and its estimates, which move while its driver
does. Both decide whether a reader has what it would get; only the first whether somebody else has
changed the job, so that a moving driver does not make every `If-Match` stale.
"""

import hashlib
import re
from typing import Any, Final

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.gateway.http.parameters import bad_request
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import JsonResponse, encode_json
from mallard_protocol import resources
from mallard_protocol.codes import ProblemCode

_TAG: Final = re.compile(r'\s*(W/)?("[!#-~\x80-\xff]*")\s*(?:,|$)')
_DIGEST_BYTES: Final = 9
_UNKNOWN: Final = resources.Eta(None, None)
_ANY: Final = "*"


def job_tag(view: resources.Job) -> str:
    """Return the tag of a job as a reader sees it."""
    order = _digest(structs.replace(view, eta=_UNKNOWN))
    return f'"{order}.{_digest(view.eta)}"'


def content_tag(view: Any) -> str:
    """Return the tag of any other resource."""
    return f'"{_digest(view)}"'


def check_if_match(request: Request, tag: str) -> None:
    """Refuse a request whose `If-Match` names another state of a job than the present `tag`.

    Raises:
        HttpProblem: 412, or 400 for a malformed header.
    """
    given = _tags_of(request, "if-match")
    if given is None or given == [_ANY]:
        return
    # Weak tags never match here.
    if _order_part(tag) not in {_order_part(it) for it in given if not it.startswith("W/")}:
        raise HttpProblem(ProblemCode.PRECONDITION_FAILED)


def has_condition(request: Request) -> bool:
    """Whether the request has an `If-Match`."""
    return "if-match" in request.headers


def tagged(request: Request, view: Any, tag: str, cache_control: str | None = None) -> Response:
    """Return the response with its tag; 304 if the reader has it already (`If-None-Match`)."""
    headers = {"ETag": tag} | ({"Cache-Control": cache_control} if cache_control else {})
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return JsonResponse(view, headers)


def is_known(request: Request, tag: str) -> bool:
    """Whether the reader has what a tag names (`If-None-Match`, a weak comparison)."""
    known = _tags_of(request, "if-none-match") if request.method in {"GET", "HEAD"} else None
    if known is None:
        return False
    return known == [_ANY] or tag.removeprefix("W/") in {it.removeprefix("W/") for it in known}


def _tags_of(request: Request, name: str) -> list[str] | None:
    """Return the tags of a header, as they are written; None without one."""
    lines = request.headers.getlist(name)
    if not lines:
        return None
    text, tags, at = ", ".join(lines), [], 0
    if text.strip() == _ANY:
        return [_ANY]
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None:
            raise bad_request(f"{name} is * or a list of quoted entity tags")
        tags.append((found[1] or "") + found[2])
        at = found.end()
    if not tags:
        raise bad_request(f"{name} is * or a list of quoted entity tags")
    return tags


def _order_part(tag: str) -> str:
    return tag.partition(".")[0].rstrip('"')


def _digest(view: Any) -> str:
    return hashlib.blake2b(encode_json(view), digest_size=_DIGEST_BYTES).hexdigest()
