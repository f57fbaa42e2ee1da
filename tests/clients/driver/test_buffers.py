"""Fixes and reports that wait."""

from mallard_client.driver.buffers import FixBuffer, LocalFix


def _fixes(first: int, end: int) -> tuple[LocalFix, ...]:
    return tuple(LocalFix(at_ms, 33.4, -111.9, 5) for at_ms in range(first, end))


def test_the_oldest_make_room_and_are_counted() -> None:
    buffer = FixBuffer(3)
    for fix in _fixes(0, 5):
        buffer.add(fix)
    assert buffer.dropped == 2
    assert buffer.take() == _fixes(2, 5)
    assert len(buffer) == 0


def test_a_batch_is_at_most_a_hundred() -> None:
    buffer = FixBuffer(250)
    for fix in _fixes(0, 250):
        buffer.add(fix)
    assert [len(buffer.take()) for _ in range(4)] == [100, 100, 50, 0]


def test_what_could_not_be_sent_goes_back_to_the_front_as_far_as_there_is_room() -> None:
    buffer = FixBuffer(4)
    for fix in _fixes(0, 3):
        buffer.add(fix)
    unsent = buffer.take()
    for fix in _fixes(3, 5):
        buffer.add(fix)
    buffer.put_back(unsent)
    assert buffer.take() == _fixes(1, 5)
    assert buffer.dropped == 1


def test_the_wire_has_the_servers_time_and_no_more_digits_than_a_centimetre_needs() -> None:
    fix = LocalFix(1_000, 33.123456789, -111.987654321, 5, None, 12.5)
    assert fix.on_wire(-400) == (600, 33.1234568, -111.9876543, 5, None, 12.5)
