"""How long a silent holder keeps its job: by the slack of the job, and by where it fell silent."""

import pytest

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import HOUR_MS, MARKET, Node
from tests.support import eventually

# The short limit stands for the two minutes of the default; nobody waits for the others.
SHORT_S, SLACK_S, MALL_S = 0.4, 60.0, 900.0
LIMITS = {
    "resume_ttl_s": SHORT_S,
    "silence_stretch": SLACK_S / SHORT_S,
    "at_mall_silence_s": MALL_S,
}
# The geofence sees a driver in the garage, but not on its ramp, 40 m outside of the outline. The
# road is 80 m outside.
GARAGE_M, RAMP_M, ROAD_M, FAR_M = 0.0, 140.0, 180.0, 12_000.0
SLACK_MS, LATE_MS = 5 * HOUR_MS, -60_000


async def silent_holder(
    node: Node, north_m: float, due_in_ms: int, state: JobState = JobState.ASSIGNED
) -> JobRef:
    """Let "d1" accept a job that is due then, and fall silent at this place in this state."""
    hello = await node.online("d1", 900)
    now_ms = node.store.now_ms()
    ref = await node.submit(deadline_ms=now_ms + due_in_ms, expires_ms=now_ms + HOUR_MS)
    await node.accepts(await node.offered(ref, "d1"))
    await node.moves("d1", north_m)
    await node.is_in(ref, state)
    await node.online("d2", 900)
    node.dispatcher.drivers.socket_closed(MARKET, "d1", hello.epoch)
    return ref


@pytest.mark.parametrize(
    ("north_m", "due_in_ms", "first_limit_s", "state"),
    [
        (GARAGE_M, SLACK_MS, MALL_S, JobState.AT_MALL),
        (RAMP_M, SLACK_MS, SLACK_S, JobState.ASSIGNED),
        (RAMP_M, LATE_MS, MALL_S, JobState.ASSIGNED),
        (FAR_M, SLACK_MS, SLACK_S, JobState.ASSIGNED),
    ],
)
async def test_holder_around_the_mall_or_with_slack_keeps_its_job(
    make_node: MakeNode, north_m: float, due_in_ms: int, first_limit_s: float, state: JobState
) -> None:
    node = await make_node(**LIMITS)
    ref = await silent_holder(node, north_m, due_in_ms, state)

    async def next_look_ms() -> int | None:
        """When the job is looked at next, once its driver has been away for the short limit."""
        driver = await node.driver("d1")
        away_ms = node.store.now_ms() - driver.lost_ms if driver.lost_ms else 0
        due_ms = await node.due_ms(f"silent/{ref.mall}/{ref.job}")
        is_past = away_ms > SHORT_S * 1000 and due_ms and due_ms > node.store.now_ms() + 20_000
        return due_ms - driver.lost_ms if is_past and due_ms else None

    assert await eventually(next_look_ms) == first_limit_s * 1000
    job = await node.job(ref)
    assert (job.state, job.driver) == (state, "d1")
    assert node.sink.asked(ref) == ["d1"]


@pytest.mark.parametrize("north_m", [ROAD_M, FAR_M])
async def test_holder_of_a_late_job_elsewhere_loses_it_soon(
    make_node: MakeNode, north_m: float
) -> None:
    node = await make_node(**LIMITS)
    ref = await silent_holder(node, north_m, LATE_MS)
    await node.offered(ref, "d2")
    assert await node.outcomes(ref) == [("d1", "accepted"), ("d1", "silent")]
