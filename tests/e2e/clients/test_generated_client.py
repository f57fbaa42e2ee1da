"""A client generated from the OpenAPI document carries an order from its quote to its end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mallard_engine.contract import documents
from tests.e2e.conftest import Node, make_token
from tests.e2e.orders.test_sandbox import ON

pytestmark = pytest.mark.slow

LIFE = """
import json, sys, uuid
from generated import AuthenticatedClient
from generated.api.events import stream_job_events
from generated.api.jobs import cancel_job, explain_job, get_job, list_jobs, submit_job
from generated.api.markets import get_market
from generated.api.quotes import get_quote
from generated.models import CancelRequest, Job, JobRequest, Problem

url, token = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token, timeout=90)
market = get_market.sync("sandbox", client=client)
mall = next(mall for mall in market.malls if mall.id == "sandbox-mall")
order = {
    "external_id": uuid.uuid4().hex,
    "pickup": {"mall": mall.id, "stores": [{"store": mall.stores[0].id, "parcels": 2}]},
    "dropoff": {"lat": 40.805, "lon": -113.845},
    "metadata": {"sandbox": "declined_then_delivered"},
}
body = JobRequest.from_dict(order)
quote = get_quote.sync(client=client, body=body)
key = uuid.uuid4().hex
job = submit_job.sync(client=client, body=body, idempotency_key=key)
assert isinstance(job, Job), job
again = submit_job.sync(client=client, body=body, idempotency_key=key)
assert again.id == job.id
# The stream ends with the job, and generated clients read an answer as a whole.
text = stream_job_events.sync(job.id, client=client)
events = [json.loads(row[5:]) for row in text.splitlines() if row.startswith("data:")]
ended = get_job.sync(job.id, client=client)
explained = explain_job.sync(job.id, client=client)
assert not isinstance(explained, Problem)
listed = list_jobs.sync(client=client, external_id=order["external_id"])
wrong = JobRequest.from_dict(order | {"metadata": {"sandbox": "nonsense"}, "external_id": "x"})
refused = submit_job.sync(client=client, body=wrong, idempotency_key=uuid.uuid4().hex)
assert isinstance(refused, Problem)
other = JobRequest.from_dict(order | {"metadata": {"sandbox": "your_driver"}, "external_id": "y"})
other = submit_job.sync(client=client, body=other, idempotency_key=uuid.uuid4().hex)
cancelled = cancel_job.sync(other.id, client=client, body=CancelRequest(reason="customer"))
print(json.dumps({
    "quote": quote.to_dict(),
    "states": [entry.state for entry in ended.timeline],
    "events": [event["type"] for event in events],
    "sequences": [event["sequence"] for event in events],
    "listed": [item.id for item in listed.items] == [job.id],
    "refused": [refused.status, refused.errors[0].pointer],
    "cancelled": [cancelled.state, cancelled.cancel_reason],
}))
"""


def test_generated_client_carries_an_order(tmp_path: Path, start: Callable[..., Node]) -> None:
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    made = subprocess.run(
        [
            *(binaries / "openapi-python-client", "generate", "--meta", "none"),
            *("--path", documents.FOLDER / "openapi.json"),
            *("--output-path", tmp_path / "generated"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    node = start(**ON)
    done = subprocess.run(
        [sys.executable, "-c", LIFE, node.url, make_token("generated", "orders")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    life = json.loads(done.stdout)
    assert life["states"][-4:] == ["assigned", "at_mall", "picked_up", "delivered"]
    assert "queued" in life["states"][2:]  # declined once
    assert life["events"][0] == "job.created"
    assert life["events"][-1] == "job.delivered"
    assert {"job.offered", "job.queued", "job.assigned", "job.picked_up"} <= set(life["events"])
    assert life["sequences"] == sorted(set(life["sequences"]))
    assert life["listed"]
    assert life["refused"] == [422, "/metadata/sandbox"]
    assert life["cancelled"] == ["cancelled", "customer"]
