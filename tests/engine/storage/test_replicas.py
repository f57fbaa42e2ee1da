"""Which replicas a confirmed write must be on."""

from mallard_engine.storage.replicas import COUNTS_S, Replicas, Server

M, A, B = (("host", port) for port in (1, 2, 3))


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def known(clock: Clock) -> Replicas:
    replicas = Replicas(clock)
    replicas.note(M, {A, B}, {A, B})
    return replicas


def wanted(replicas: Replicas, primary: Server) -> set[Server]:
    return set(replicas.wanted(primary))


def test_replica_counts_for_a_while_after_it_was_in_step() -> None:
    clock = Clock()
    replicas = known(clock)
    clock.now_s += COUNTS_S - 1
    replicas.note(M, {B}, {A, B})
    assert wanted(replicas, M) == {A, B}
    clock.now_s += 1
    assert wanted(replicas, M) == {B}


def test_replica_counts_again_once_it_is_in_step() -> None:
    clock = Clock()
    replicas = known(clock)
    clock.now_s += COUNTS_S
    assert wanted(replicas, M) == set()
    replicas.note(M, {A}, {A})
    assert wanted(replicas, M) == {A}


def test_replica_that_returns_counts_before_it_is_in_step() -> None:
    clock = Clock()
    replicas = known(clock)
    clock.now_s += COUNTS_S
    replicas.note(M, {B}, {B})
    assert wanted(replicas, M) == {B}
    replicas.note(M, {B}, {A, B})
    assert wanted(replicas, M) == {A, B}


def test_promoted_replica_wants_others_not_its_former_master() -> None:
    replicas = known(Clock())
    assert wanted(replicas, A) == {B}
    replicas.note(A, {B, M}, {B, M})
    assert wanted(replicas, A) == {B, M}
    assert wanted(replicas, M) == {B}


def test_primaries_of_a_cluster_do_not_share_replicas() -> None:
    replicas = known(Clock())
    other, its = ("host", 4), ("host", 5)
    replicas.note(other, {its}, {its})
    assert wanted(replicas, M) == {A, B}
    assert wanted(replicas, other) == {its}
