import pytest

from load_tests.target import NotAllowed, Target

HERE = "http://127.0.0.1:8000"


@pytest.mark.parametrize("url", [HERE, "http://localhost:8000/", "http://[::1]:8000"])
def test_loopback_needs_no_permission(url: str) -> None:
    assert Target.of([url], allow_remote=False).nodes == (url.rstrip("/"),)


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8000", "https://0.0.0.0", "http://[2001:db8::1]"]
)
def test_remote_machine_needs_the_flag(url: str) -> None:
    with pytest.raises(NotAllowed, match="--allow-remote"):
        Target.of([HERE, url], allow_remote=False)
    assert Target.of([HERE, url], allow_remote=True).nodes == (HERE, url)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ws://127.0.0.1", "http://", "http://127.0.0.1/v1", "file:///etc"]
)
def test_invalid_base_url_is_refused(url: str) -> None:
    with pytest.raises(NotAllowed):
        Target.of([url], allow_remote=True)


def test_engine_url_is_required() -> None:
    with pytest.raises(NotAllowed, match="--host"):
        Target.of([], allow_remote=False)


def test_nodes_are_used_in_turn() -> None:
    target = Target.of([HERE, "https://127.0.0.1:8443", HERE], allow_remote=False)
    assert [target.socket_url(number) for number in range(3)] == [
        "ws://127.0.0.1:8000/v1/driver",
        "wss://127.0.0.1:8443/v1/driver",
        "ws://127.0.0.1:8000/v1/driver",
    ]
