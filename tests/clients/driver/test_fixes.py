"""Fixes that wait."""

from mallard_client.driver.reporting.fixes import FixBuffer, LocalFix


def _fixes(first: int, end: int) -> tuple[LocalFix, ...]:
    return tuple(LocalFix(at_ms, 33.4, -111.9, 5) for at_ms in range(first, end))


def test_oldest_fixes_are_dropped_and_counted() -> None:
    buffer = FixBuffer(3)
    for fix in _fixes(0, 5):
        buffer.add(fix)
    assert buffer.dropped == 2
    assert buffer.take() == _fixes(2, 5)
    assert len(buffer) == 0


def test_batch_holds_at_most_100_fixes() -> None:
    buffer = FixBuffer(250)
    for fix in _fixes(0, 250):
        buffer.add(fix)
    assert [len(buffer.take()) for _ in range(4)] == [100, 100, 50, 0]


def test_unsent_fixes_return_to_the_front_within_the_limit() -> None:
    buffer = FixBuffer(4)
    for fix in _fixes(0, 3):
        buffer.add(fix)
    unsent = buffer.take()
    for fix in _fixes(3, 5):
        buffer.add(fix)
    buffer.put_back(unsent)
    assert buffer.take() == _fixes(1, 5)
    assert buffer.dropped == 1


def test_fix_has_server_time_and_centimetre_precision() -> None:
    fix = LocalFix(1_000, 33.123456789, -111.987654321, 5, None, 12.5)
    assert fix.on_wire(-400) == (600, 33.1234568, -111.9876543, 5, None, 12.5)
