"""The generated documents are complete, consistent and up to date."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.contract import documents
from mallard_engine.contract.advice import PROBLEMS
from mallard_engine.contract.asyncapi import asyncapi
from mallard_engine.contract.openapi import openapi
from mallard_protocol.codec import CLIENT_TYPES, SERVER_TYPES
from mallard_protocol.codes import SUBPROTOCOLS, Close, ErrorCode

OPERATIONS = {
    "/v1/jobs": {"post", "get"},
    "/v1/jobs:batch": {"post"},
    "/v1/jobs:cancel": {"post"},
    "/v1/jobs/{id}": {"get", "patch"},
    "/v1/customers/{ref}": {"delete"},
    "/v1/jobs/{id}/cancel": {"post"},
    "/v1/jobs/{id}/ready": {"post"},
    "/v1/jobs/{id}/problems/{problem}/answer": {"post"},
    "/v1/jobs/{id}/redeliver": {"post"},
    "/v1/jobs/{id}/explain": {"get"},
    "/v1/jobs/{id}/events": {"get"},
    "/v1/jobs/{id}/assign": {"post"},
    "/v1/jobs/{id}/unassign": {"post"},
    "/v1/jobs/{id}/close": {"post"},
    "/v1/quotes": {"post"},
    "/v1/session/exchange": {"post"},
    "/v1/events": {"get"},
    "/v1/webhooks": {"get", "post"},
    "/v1/webhooks/{id}": {"get", "patch", "delete"},
    "/v1/webhooks/{id}/rotate": {"post"},
    "/v1/webhooks/{id}/test": {"post"},
    "/v1/webhooks/{id}/replay": {"post"},
    "/v1/webhooks/{id}/deliveries": {"get"},
    "/v1/markets": {"get"},
    "/v1/markets/{market}": {"get"},
    "/v1/markets/{market}/drivers": {"get"},
    "/v1/markets/{market}/drivers/{driver}": {"get", "put"},
    "/v1/markets/{market}/drivers/{driver}/suspend": {"post"},
    "/v1/markets/{market}/drivers/{driver}/resume": {"post"},
    "/v1/markets/{market}/drivers/{driver}/transfer": {"post"},
    **{
        f"/v1/markets/{{market}}{place}/{verb}": {"post"}
        for place in ("", "/malls/{mall}", "/malls/{mall}/stores/{store}")
        for verb in ("pause", "resume")
    },
    "/v1/tokens/revoke": {"post"},
    "/v1/alerts": {"get"},
    "/v1/markets/{market}/policy": {"get", "put"},
    "/v1/audit": {"get"},
    "/v1/nodes": {"get"},
    "/v1/nodes/{node}/drain": {"post"},
    "/v1/alerts/{id}/acknowledge": {"post"},
    "/v1/dead-letters": {"get"},
    "/v1/dead-letters/{id}/retry": {"post"},
    "/v1/driver": {"get"},
    "/v1/driver/locations": {"post"},
    "/v1/driver/state": {"get"},
    "/v1/driver/status": {"post"},
    "/v1/driver/offers/{offer}/accept": {"post"},
    "/v1/driver/offers/{offer}/decline": {"post"},
    "/v1/driver/jobs/{job}/progress": {"post"},
    "/v1/driver/problems": {"post"},
    "/v1/driver/proofs": {"post"},
    "/v1/jobs/{id}/proofs": {"get"},
    "/v1/proofs/{proof}": {"get"},
    "/v1/jobs/{id}/tracking": {"get", "delete"},
    "/v1/track/{token}": {"get"},
    "/v1/stores/{mall}/{store}/pickups": {"get"},
    "/v1/stores/{mall}/{store}/pickups/{job}": {"post"},
    "/v1/stores/{mall}/{store}/pickups/{job}/handover": {"post"},
    "/v1/stores/{mall}/{store}/returns": {"get"},
    "/v1/stores/{mall}/{store}/returns/{job}": {"post"},
    "/v1/stores/{mall}/{store}/hours": {"post"},
    **{f"/{name}": {"get"} for name in ("livez", "readyz", "metrics", "docs")},
    **{f"/{name}.json": {"get"} for name in ("openapi", "asyncapi")},
}
DOCUMENTS = pytest.mark.parametrize("document", [openapi(), asyncapi()], ids=["http", "socket"])


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from nodes(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from nodes(inner)


@DOCUMENTS
def test_every_reference_points_at_something(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(document) if "$ref" in node]
    assert references
    for reference in references:
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


@DOCUMENTS
def test_patterns_are_portable(document: dict[str, Any]) -> None:
    patterns = {node["pattern"] for node in nodes(document) if isinstance(node.get("pattern"), str)}
    assert "^[A-Za-z0-9_.:-]{1,64}$" in patterns
    for pattern in patterns:
        assert "(?" not in pattern
        re.compile(pattern)


@DOCUMENTS
def test_documents_are_json(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document


def test_document_has_every_path() -> None:
    assert {path: set(methods) for path, methods in openapi()["paths"].items()} == OPERATIONS


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi()["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_answer_to_tokens_of_counters_is_declared() -> None:
    for path, operation in operations():
        roles = {role for it in operation["security"] for role in it.get("bearer", [])}
        if roles and "store" not in roles and "101" not in operation["responses"]:
            codes = operation["responses"]["404"]["x-problem-codes"]
            assert "not_found" in codes, path


def test_path_parameters_are_declared() -> None:
    for path, operation in operations():
        declared = {it["name"] for it in operation["parameters"] if it["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))


# What a link gives, without a token.
BY_LINK = {"/v1/proofs/{proof}", "/v1/session/exchange", "/v1/track/{token}"}


def test_every_operation_with_a_token_lists_refusals() -> None:
    for path, operation in operations():
        open_to_all = path.count("/") == 1 or path in BY_LINK
        assert bool(operation["security"]) != open_to_all
        assert ("401" in operation["responses"]) != open_to_all


def test_retryable_responses_have_retry_after() -> None:
    for _, operation in operations():
        for status in {"429", "503"} & operation["responses"].keys():
            assert "Retry-After" in operation["responses"][status]["headers"]


def test_every_problem_code_is_listed() -> None:
    listed = {entry["code"] for entry in openapi()["x-problem-codes"]}
    assert listed == {code.value for code in PROBLEMS}


def test_requests_are_strict_and_responses_open() -> None:
    schemas = openapi()["components"]["schemas"]
    for name in ("JobRequest", "Pickup", "PickupStore", "DropoffRequest", "CancelRequest"):
        assert schemas[name]["additionalProperties"] is False
    for name in ("Job", "PickupView", "ShopView", "DropoffView", "Problem", "Market"):
        assert "additionalProperties" not in schemas[name]


def test_document_has_every_message() -> None:
    document = asyncapi()
    assert document["components"]["messages"].keys() == CLIENT_TYPES | SERVER_TYPES | {"event"}
    directions: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in document["operations"].values():
        directions[operation["action"]] |= {
            message["$ref"].rpartition("/")[2] for message in operation["messages"]
        }
    assert directions == {"receive": CLIENT_TYPES, "send": SERVER_TYPES | {"event"}}


def test_document_has_socket_codes_and_limits() -> None:
    document = asyncapi()
    assert [it["code"] for it in document["x-close-codes"]] == [int(code) for code in Close]
    assert [it["code"] for it in document["x-error-codes"]] == [code.value for code in ErrorCode]
    assert [it["name"] for it in document["x-subprotocols"]] == list(SUBPROTOCOLS)
    assert document["x-limits"]["max_bytes"]["value"] == 16384


def test_limits_of_events_and_orders_match_the_contract() -> None:
    limits = {name: it["value"] for name, it in openapi()["x-limits"].items()}
    expected = {
        "event_comment_s": 15,
        "event_streams": 20,
        "events_kept_ms": 24 * 3_600_000,
        "driver_moved_s": 15,
        "webhook_answer_s": 10,
        "webhook_give_up_s": 3 * 86_400,
        "webhook_rotation_s": 86_400,
        "webhook_waiting": 10_000,
        "tracked_after_end_ms": 24 * 3_600_000,
        "max_items": 100,
        "max_batch_bytes": 1 << 20,
        "max_proof_bytes": 2 << 20,
        "unused_proofs": 20,
        "proof_link_kept_s": 15 * 60,
        "max_page": 200,
    }
    assert {name: limits[name] for name in expected} == expected


def test_documents_are_up_to_date() -> None:
    assert documents.main(["--check"]) == 0, "run `make docs`"


def test_stale_documents_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "docs" / "contract"
    assert documents.main(["--check"], folder=folder) == 1
    assert documents.main([], folder=folder) == 0
    assert documents.main(["--check"], folder=folder) == 0
    (folder / "openapi.json").write_text("{}")
    capsys.readouterr()
    assert documents.main(["--check"], folder=folder) == 1
    assert "openapi.json" in capsys.readouterr().err
