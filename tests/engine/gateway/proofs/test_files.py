"""The files of images: in a folder, and in a bucket of an S3-compatible server."""

import stat
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mallard_engine.config.settings import ConfigError, load_settings
from mallard_engine.gateway.proofs.bucket import BucketFiles
from mallard_engine.gateway.proofs.files import FolderFiles, ProofFiles
from tests.engine.gateway.conftest import PHOENIX, NodeFactory
from tests.engine.gateway.http_support import problem, upload, uploaded

BUCKET = "proofs"
# The server and the SDK are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> ProofFiles:
    if request.param == "folder":
        return FolderFiles(tmp_path / "proofs")
    return BucketFiles(BUCKET, request.getfixturevalue("endpoint"))


def test_file_is_read_as_it_was_stored(files: ProofFiles) -> None:
    data = bytes(range(256)) * 1000
    files.put(PHOENIX, "proof_phoenix.a", data, "image/png")
    assert files.get(PHOENIX, "proof_phoenix.a") == data
    assert files.get(PHOENIX, "proof_phoenix.b") is None
    assert files.get("las-vegas", "proof_phoenix.a") is None


def test_removed_file_is_gone_and_removing_is_repeatable(files: ProofFiles) -> None:
    files.put(PHOENIX, "proof_phoenix.a", b"x", "image/png")
    for _ in range(2):
        files.remove(PHOENIX, "proof_phoenix.a")
        assert files.get(PHOENIX, "proof_phoenix.a") is None


def test_other_users_may_not_read_the_folder(tmp_path: Path) -> None:
    FolderFiles(tmp_path / "proofs").put(PHOENIX, "a", b"x", "image/png")
    modes = {stat.S_IMODE(it.stat().st_mode) for it in (tmp_path / "proofs").rglob("*")}
    assert modes <= {0o700, 0o600}


def test_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    (tmp_path / PHOENIX / "a").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.put(PHOENIX, "a", b"x", "image/png")
    assert [it.name for it in (tmp_path / PHOENIX).iterdir()] == ["a"]


def test_bucket_that_is_not_there_is_an_error(endpoint: str) -> None:
    files = BucketFiles("nowhere", endpoint)
    with pytest.raises(OSError, match="NoSuchBucket"):
        files.put(PHOENIX, "a", b"x", "image/png")


async def test_node_stores_images_in_its_bucket(engine_node: NodeFactory, endpoint: str) -> None:
    node = await engine_node(proofs_bucket=BUCKET, proofs_endpoint=endpoint)
    proof = await uploaded(node)
    stored = boto3.client("s3", endpoint_url=endpoint).get_object(
        Bucket=BUCKET, Key=f"{PHOENIX}/{proof}"
    )
    assert (stored["ContentType"], stored["ContentDisposition"]) == ("image/png", "attachment")
    await node.node.store.proofs.discard(PHOENIX, [proof])
    assert await node.node.images.remove_gone(PHOENIX) == 1
    assert await node.node.images.read(PHOENIX, proof) is None


async def test_bucket_that_fails_answers_503(engine_node: NodeFactory, endpoint: str) -> None:
    node = await engine_node(proofs_bucket="nowhere", proofs_endpoint=endpoint)
    problem(await upload(node), 503, "store_unavailable")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"proofs_endpoint": "http://s3"}, "needs proofs_bucket"),
        ({"proofs_bucket": "b", "proofs_endpoint": "s3:9000"}, "not an http or https address"),
        ({"proofs_bucket": "b", "proofs": "images"}, "both set"),
        ({"public_url": "api.example"}, "not an http or https address"),
        ({"public_url": "https://api.example/?x=1"}, "not an http or https address"),
        ({"public_url": "https://[::1"}, "not an http or https address"),
        ({"map_style_url": "https://[::1/style.json"}, "not an http or https address"),
        ({"map_style_url": "https://:443/style.json"}, "not an http or https address"),
        ({"proofs_bucket": "b", "proofs_endpoint": "http://s3:99999"}, "not an http or https"),
        ({"proofs_bucket": "b", "proofs_endpoint": "http://s3:a"}, "not an http or https"),
        ({"travel_osrm_url": "http://[::1"}, "not an http:// address"),
        ({"travel_osrm_url": "http://osrm:99999"}, "not an http:// address"),
        ({"host": "here:80"}, "not an address or a host's name"),
        ({"ops_host": "[::1]", "ops_port": "0"}, "not an address or a host's name"),
    ],
)
def test_wrong_settings_are_refused(flags: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_settings(flags, {})
