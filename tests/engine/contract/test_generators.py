"""Code generators and validators accept the documents; `.ci/documents` runs those of Node.js."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mallard_engine.contract import documents
from mallard_engine.contract.asyncapi import asyncapi
from mallard_engine.contract.openapi import openapi

pytestmark = [pytest.mark.slow, pytest.mark.finding("D18")]

# Built-in names of TypeScript, JavaScript and Python.
GLOBALS = frozenset(
    {
        "Error",
        "Location",
        "Event",
        "Request",
        "Response",
        "Map",
        "Set",
        "Date",
        "Object",
        "Array",
        "Number",
        "String",
        "Boolean",
        "Symbol",
        "Promise",
        "Proxy",
        "Function",
        "Notification",
        "Option",
        "Range",
        "Text",
        "Node",
        "File",
        "Lock",
        "Plugin",
        "Status",
        "Any",
        "Dict",
        "List",
        "Type",
        "Exception",
        "Warning",
    }
)
DOCUMENTS = pytest.mark.parametrize("document", [openapi(), asyncapi()], ids=["http", "socket"])


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node:
        if isinstance(inner, dict | list):
            yield from nodes(inner)


def operations() -> dict[str, dict[str, Any]]:
    paths = openapi()["paths"].values()
    return {it["operationId"]: it for methods in paths for it in methods.values()}


def test_openapi_validator_reports_no_errors() -> None:
    assert list(OpenAPIV31SpecValidator(openapi()).iter_errors()) == []


def test_schema_names_are_plain() -> None:
    # Two structs of one name get their module's name, which generators cannot turn into a class.
    assert [name for name in openapi()["components"]["schemas"] if "." in name] == []


def test_python_client_is_generated_and_imports(tmp_path: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [
            *(binaries / "openapi-python-client", "generate", "--meta", "none"),
            *(
                "--path",
                documents.FOLDER / "openapi.json",
                "--output-path",
                tmp_path / "generated",
            ),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout, done.stdout
    calls = "from generated.api.jobs import submit_job, get_job, list_jobs, cancel_job\n"
    calls += "from generated.api.quotes import get_quote\n"
    calls += "from generated.models import Job, JobRequest, Problem, Quote\n"
    calls += "assert submit_job.sync and Job.from_dict"
    done = subprocess.run(
        [sys.executable, "-c", calls], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_operation_ids_are_readable() -> None:
    names = set(operations())
    assert {"submitJob", "getJob", "listJobs", "cancelJob", "getQuote", "listMarkets"} <= names
    for name in names:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", name)
        assert not re.match(r"(post|put|patch)[A-Z]", name)


def test_every_tag_is_declared_and_described() -> None:
    tags = {tag["name"]: tag["description"] for tag in openapi()["tags"]}
    assert all(tags.values())
    assert {tag for it in operations().values() for tag in it["tags"]} == tags.keys()


@DOCUMENTS
def test_server_and_licence_are_named(document: dict[str, Any]) -> None:
    assert document["servers"]
    assert document["info"]["license"]["name"] == "Apache-2.0"


@DOCUMENTS
def test_no_schema_is_a_bare_boolean(document: dict[str, Any]) -> None:
    for node in nodes(document["components"]["schemas"]):
        assert not isinstance(node.get("items"), bool)
        assert not isinstance(node.get("additionalItems"), bool)


@DOCUMENTS
def test_integers_have_64_bits(document: dict[str, Any]) -> None:
    integers = [it for it in nodes(document["components"]) if it.get("type") == "integer"]
    assert integers
    assert {it.get("format") for it in integers} == {"int64"}


@DOCUMENTS
def test_no_schema_name_clashes_with_a_built_in(document: dict[str, Any]) -> None:
    assert not GLOBALS & document["components"]["schemas"].keys()


@DOCUMENTS
def test_every_object_and_tuple_has_a_name(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        for node in nodes(list(schema.values())):
            # A map with arbitrary keys needs no name of its own.
            assert not (node.get("type") == "object" and isinstance(node.get("properties"), dict))
            assert "prefixItems" not in node
    for answer in (it for op in operations().values() for it in op["responses"].values()):
        for content in answer.get("content", {}).values():
            assert content["schema"].keys() <= {"$ref", "type", "format"}


def test_every_response_lists_its_problem_codes() -> None:
    conflict = operations()["submitJob"]["responses"]["409"]
    assert "duplicate_external_id" in json.dumps(conflict["x-problem-codes"])
