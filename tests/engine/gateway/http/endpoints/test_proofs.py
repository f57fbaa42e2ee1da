"""Photos and signatures over HTTP: uploads, links, what is removed."""

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mallard_engine.gateway.proofs.links import signature
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import PNG, Caller, problem, upload, uploaded
from tests.engine.gateway.proofs.test_image import bomb
from tests.engine.gateway.test_driver_reports import held_by

ABOVE = 2 * 1024 * 1024 + 1


def photo(proof: str, kind: str = "photo") -> dict[str, Any]:
    return {"kind": kind, "value": proof}


async def on_board(node: RunningNode, driver: DriverApp, **order: Any) -> dict[str, Any]:
    await driver.go_online(position=NEAR)
    job = await held_by(node, driver, **order)
    await driver.progress(job, "picked_up")
    return job


def files(folder: Path) -> list[str]:
    return sorted(it.name for it in folder.rglob("*") if it.is_file())


async def test_photo_and_signature_are_given_by_id(node: RunningNode) -> None:
    first, second = await uploaded(node), await uploaded(node)
    async with open_app(node.ws, node.token("d1")) as driver:
        job = await on_board(node, driver, proof_required=["photo", "signature"])
        nothing = await driver.progress(job, "delivered")
        assert nothing["missing"] == ["photo", "signature"]
        given = await driver.progress(job, "delivered", proof=photo(first))
        assert (given["code"], given["missing"]) == ("proof_needed", ["signature"])
        done = await driver.progress(job, "delivered", proof=photo(second, "signature"))
        assert done["job_state"] == "delivered"
        again = await driver.progress(job, "delivered", proof=photo(second, "signature"))
        assert again["job_state"] == "delivered"
    items = (await Caller(node).get(f"/v1/jobs/{job['job']}/proofs")).json()["items"]
    assert [(it["kind"], it["proof"]) for it in items] == [("photo", first), ("signature", second)]
    assert all(
        it["at"] and it["url_expires_at"] and it["media_type"] == "image/png" for it in items
    )


@pytest.mark.parametrize("value", ["", "p-1", "proof_phoenix.x", "x" * 500])
async def test_unknown_image_is_no_proof(node: RunningNode, value: str) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        job = await on_board(node, driver, proof_required=["photo"])
        refused = await driver.progress(job, "delivered", proof=photo(value))
        assert refused["code"] == "bad_field"


async def test_image_is_usable_by_its_driver_and_for_one_job(node: RunningNode) -> None:
    other, own = await uploaded(node, driver="d2"), await uploaded(node)
    async with open_app(node.ws, node.token("d1")) as driver:
        job = await on_board(node, driver)
        refused = await driver.progress(job, "delivered", proof=photo(other))
        assert refused["code"] == "bad_field"
        await driver.progress(job, "delivered", proof=photo(own))
        next_job = await held_by(node, driver)
        await driver.progress(next_job, "picked_up")
        again = await driver.progress(next_job, "delivered", proof=photo(own))
        assert again["code"] == "bad_field"


@pytest.mark.parametrize("claimed", ["image/png", "image/jpeg", "application/json", "text/html"])
async def test_bytes_say_what_an_image_is(node: RunningNode, claimed: str) -> None:
    assert (await upload(node, content_type=claimed)).status_code == 201


@pytest.mark.parametrize("content", [b"", b"{}", b"GIF89a\1\0\1\0\0\0\0;", b"--x\r\nform\r\n--x--"])
async def test_other_bodies_are_refused(node: RunningNode, content: bytes) -> None:
    problem(await upload(node, content, content_type="image/png"), 415, "unsupported_media_type")


@pytest.mark.parametrize("content", [PNG[:45] + b"\0" * 20, bomb(5_001, 5_000)])
async def test_broken_image_is_refused(node: RunningNode, tmp_path: Path, content: bytes) -> None:
    problem(await upload(node, content), 422, "invalid_fields")
    assert files(tmp_path / "proofs") == []


async def test_compressed_body_is_refused(node: RunningNode) -> None:
    answer = await upload(node, content_encoding="gzip")
    problem(answer, 415, "unsupported_media_type")


async def test_body_over_its_limit_is_refused(node: RunningNode) -> None:
    problem(await upload(node, bytes(ABOVE)), 413, "body_too_large")
    largest = await upload(node, PNG + bytes(ABOVE - 1 - len(PNG)))
    assert largest.status_code == 201


@pytest.mark.parametrize("role", [Role.ORDERS, Role.OPERATOR])
async def test_only_drivers_upload(node: RunningNode, role: Role) -> None:
    headers = node.bearer("shop", role)
    answer = await node.http.post("/v1/driver/proofs", content=PNG, headers=headers)
    problem(answer, 403, "forbidden")
    problem(await node.http.post("/v1/driver/proofs", content=PNG), 401, "unauthorized")


async def test_twenty_unused_images_are_the_most(node: RunningNode, tmp_path: Path) -> None:
    proofs = [await uploaded(node) for _ in range(20)]
    refused = await upload(node)
    problem(refused, 429, "quota_exceeded")
    assert refused.headers["Retry-After"]
    assert (await upload(node, driver="d2")).status_code == 201
    assert (await upload(node, driver="d")).status_code == 201
    async with open_app(node.ws, node.token("d1")) as driver:
        job = await on_board(node, driver)
        await driver.progress(job, "delivered", proof=photo(proofs[0]))
    assert (await upload(node)).status_code == 201
    assert len(files(tmp_path)) >= 23


async def test_link_serves_the_image_as_attachment(node: RunningNode) -> None:
    job, proof = await delivered(node)
    (item,) = (await Caller(node).get(f"/v1/jobs/{job}/proofs")).json()["items"]
    expires_ms = epoch_ms(datetime.fromisoformat(item["url_expires_at"]))
    # A link is good for 15 minutes. A minute for a process that stands still.
    assert abs(expires_ms - node.node.store.now_ms() - 900_000) < 60_000
    assert item["url"].startswith(f"/v1/proofs/{proof}?")
    answer = await node.http.get(item["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["content-disposition"] == f'attachment; filename="{proof}.png"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "no-store" in answer.headers["cache-control"]
    assert len(answer.content) == item["bytes"]
    assert Image.open(io.BytesIO(answer.content)).size == (1, 1)
    assert (await node.http.head(item["url"])).status_code == 200


async def test_link_starts_with_the_public_url(engine_node: NodeFactory) -> None:
    node = await engine_node(public_url="https://api.example/mallard/")
    job, proof = await delivered(node)
    (item,) = (await Caller(node).get(f"/v1/jobs/{job}/proofs")).json()["items"]
    assert item["url"].startswith(f"https://api.example/mallard/v1/proofs/{proof}?")


async def delivered(node: RunningNode) -> tuple[str, str]:
    proof = await uploaded(node)
    async with open_app(node.ws, node.token("d1")) as driver:
        job = await on_board(node, driver)
        await driver.progress(job, "delivered", proof=photo(proof))
    return job["job"], proof


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"signature": "x"}, 403, "forbidden"),
        ({"signature": ""}, 403, "forbidden"),
        ({"signature": "é"}, 403, "forbidden"),
        ({"expires": "9999999999"}, 403, "forbidden"),
        ({"expires": "-1"}, 400, "bad_request"),
        ({"expires": "soon"}, 400, "bad_request"),
        ({"utm_source": "x"}, 400, "bad_request"),
    ],
)
async def test_wrong_link_is_refused(
    node: RunningNode, change: dict[str, str], status: int, code: str
) -> None:
    job, proof = await delivered(node)
    (item,) = (await Caller(node).get(f"/v1/jobs/{job}/proofs")).json()["items"]
    query = dict(part.split("=", 1) for part in item["url"].partition("?")[2].split("&"))
    problem(await node.http.get(f"/v1/proofs/{proof}", params=query | change), status, code)


async def test_link_of_another_image_or_an_old_one_is_refused(node: RunningNode) -> None:
    proof, other = await uploaded(node), await uploaded(node)
    store = node.node.store
    key = await store.proofs.link_key(PHOENIX)
    now_s = store.now_ms() // 1000
    for named, expires, status in (
        (proof, now_s + 60, 200),
        (other, now_s + 60, 403),
        (proof, now_s - 1, 403),
    ):
        signed = {"expires": str(expires), "signature": signature(key, proof, expires)}
        assert (await node.http.get(f"/v1/proofs/{named}", params=signed)).status_code == status


@pytest.mark.parametrize(
    "proof", ["x", "proof_phoenix.x", "proof_nowhere.x", "proof_.x", "proof_phoenix.%2e%2e"]
)
async def test_unknown_image_is_not_served(node: RunningNode, proof: str) -> None:
    answer = await node.http.get(f"/v1/proofs/{proof}?expires=1&signature=x")
    assert answer.status_code in {403, 404}


async def test_proofs_of_another_service_are_not_found(node: RunningNode) -> None:
    job, _ = await delivered(node)
    problem(await Caller(node, "other").get(f"/v1/jobs/{job}/proofs"), 404, "not_found")
    assert (await Caller(node, "ops", Role.OPERATOR).get(f"/v1/jobs/{job}/proofs")).is_success
    problem(await Caller(node, "d1", Role.DRIVER).get(f"/v1/jobs/{job}/proofs"), 403, "forbidden")
    answer = await Caller(node).get(f"/v1/jobs/{job}/proofs", limit=1)
    problem(answer, 400, "bad_request")


async def test_erased_images_are_removed(node: RunningNode, tmp_path: Path) -> None:
    job, proof = await delivered(node)
    unused = await uploaded(node)
    (item,) = (await Caller(node).get(f"/v1/jobs/{job}/proofs")).json()["items"]
    await node.node.store.proofs.erase(job)
    await node.node.store.proofs.erase(job)
    assert (await node.http.get(item["url"])).status_code == 404
    (left,) = (await Caller(node).get(f"/v1/jobs/{job}/proofs")).json()["items"]
    assert left.keys() == {"kind", "step", "at"}
    await node.node.images.remove_gone(PHOENIX)
    names = files(tmp_path)
    assert proof not in names
    assert unused in names


async def test_file_that_cannot_be_stored_leaves_nothing(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mallard_engine.gateway.proofs.files.FolderFiles.put", full)
    problem(await upload(node), 503, "store_unavailable")
    monkeypatch.undo()
    assert await node.node.images.remove_gone(PHOENIX) == 1
    for _ in range(20):
        await uploaded(node)
