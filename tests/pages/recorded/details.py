"""What the pages of one order and of the policy ask of a recorded world."""

from mallard_engine.gateway.timestamps import Moment
from mallard_protocol.control import AuditEntry, PolicyView
from mallard_protocol.resources import Asked, Candidate, Explanation
from tests.pages.recorded.world import MARKET, World


def explanation(world: World, job: str) -> Explanation | None:
    """Return the last round of a job: five candidates that fit, and one that does not."""
    if job not in world.jobs:
        return None
    found = world.jobs[job]
    names = [it.driver for it in world.drivers() if it.connected and it.driver != found.driver]
    if found.driver is not None:
        names.insert(0, found.driver)
    fitting = tuple(
        Candidate(
            name,
            eligible=True,
            why_not=None,
            cost_s=180.0 + 70 * rank,
            terms={"drive": 150.0 + 60 * rank, "wait": 40.0 + 15 * rank, "idle": -10.0 - 5 * rank},
            eta_s=150 + 60 * rank,
            distance_m=1_200 + 500 * rank,
        )
        for rank, name in enumerate(names[:5])
    )
    full = Candidate(names[5], False, "no_room", None, {}, 90, 700)  # as ordered
    at = Moment.at_ms(world.start_ms - 120_000)
    return Explanation(
        job=job,
        round=2,
        at=at,
        radius_m=5_000,
        capped=False,
        candidates=(*fitting, full),
        asked=(
            Asked(names[1], 1, "declined", at, "too far"),
            Asked(names[0], 2, "accepted", at),
        ),
    )


def policy(world: World) -> PolicyView:
    """Return a policy of which one figure was changed."""
    effective = {
        "offer_timeout_ms": 20_000,
        "offer_ack_timeout_ms": 3_000,
        "cooldown_s": 30,
        "radius_m": 5_000,
        "max_candidates": 16,
        "weights_idle_s": 0.05,
        "weights_decline_s": 60.0,
        "batch_window_ms": 500,
        "run_max_jobs": 3,
    }
    changed = Moment.at_ms(world.start_ms - 3_600_000)
    return PolicyView(3, "pooled", {"cooldown_s": 30}, effective, "ops", changed)


def audit(world: World) -> tuple[AuditEntry, ...]:
    """Return the last changes of the policy and of pauses."""
    path = f"/v1/markets/{MARKET}"
    calls = (
        ("putPolicy", "PUT", f"{path}/policy"),
        ("resumeMarket", "POST", f"{path}/resume"),
        ("pauseMarket", "POST", f"{path}/pause"),
    )
    return tuple(
        AuditEntry(
            f"aud_{number}",
            Moment.at_ms(world.start_ms - 3_600_000 * (number + 1)),
            "ops",
            operation,
            method,
            where,
            MARKET,
            200,
        )
        for number, (operation, method, where) in enumerate(calls)
    )
