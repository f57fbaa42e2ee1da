"""The audit's rule `archive`: what waits for the archive has ended and stays until it is there."""

from typing import Final

from mallard_engine.storage.audit.views import Look
from mallard_protocol.lifecycle import TERMINAL

_MARGIN_MS: Final = 1_000


async def judge_unarchived(look: Look, job: str) -> list[tuple[str, str]]:
    """Check a job that waits for the archive.

    One whose record is gone is counted as lost by `forget`, and is not judged.
    """
    keys = look.keys
    service = (await look.read("HGET", keys.job(job), "service") or b"").decode()
    common, (score, state, ttl_ms, kept, hold) = await look.at_once(
        ("ZSCORE", keys.key("unarchived"), job),
        ("HGET", keys.job(job), "state"),
        ("PTTL", keys.job(job)),
        ("ZSCORE", keys.key("forget"), f"job/{service}/{job}"),
        ("HGET", keys.key("archive"), "hold_ms"),
    )
    if score is None or state is None:
        return []
    if hold is None:
        return [("archive", "it waits for an archive, and the market has none")]
    if state.decode() not in TERMINAL:
        return [("archive", f"it is {state.decode()}, and waits for the archive")]
    left_ms = 0 if kept is None else int(float(kept)) - common["now_ms"]
    if 0 <= ttl_ms < left_ms - _MARGIN_MS:
        return [("archive", f"it waits for the archive, and is gone {left_ms - ttl_ms} ms early")]
    return []
