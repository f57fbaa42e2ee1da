"""The audit's rule S13: the counts of jobs by state agree with the jobs.

Jobs change while they are counted, so they are counted as they were at one event.
"""

from collections import Counter
from collections.abc import Mapping

from mallard_engine.storage.audit.traces import (
    Judged,
    events_between,
    id_of,
    newest_event,
    pages_of_jobs,
)
from mallard_engine.storage.audit.views import Look
from mallard_protocol.lifecycle import TERMINAL, JobState


async def judge_counts(look: Look) -> Judged:
    """Check that the counts of jobs by state add up and agree with the jobs (S13)."""
    _, (counts, newest) = await look.at_once(
        ("HGETALL", look.keys.key("counts")), newest_event(look)
    )
    by_state = {name.decode(): int(count) for name, count in counts.items()}
    submitted = by_state.pop("submitted", 0)
    found: Judged = []
    if sum(by_state.values()) != submitted:
        found.append(("S13", f"the states add up to {sum(by_state.values())}, not to {submitted}"))
    found += [("S13", f"{count} jobs are {name}") for name, count in by_state.items() if count < 0]
    there = await _count_as_of(look, id_of(newest))
    for state, seen in _wanted(there, by_state, submitted).items():
        if (counted := by_state.get(state, 0)) != seen:
            found.append(("S13", f"{seen} jobs are {state}, but {counted} are counted"))
    return found


def _wanted(there: Mapping[str, int], counted: Mapping[str, int], submitted: int) -> dict[str, int]:
    """Return how many jobs each state must have.

    Ended jobs are deleted after a week, and their counts stay: those may be higher than what is
    there, unless each job that was submitted is still there.
    """
    states = [state for it in JobState for state in (it.value, f"transfer_{it.value}")]
    is_all_there = sum(there.values()) == submitted
    going_on = {state for it in set(JobState) - TERMINAL for state in (it, f"transfer_{it}")}
    return {
        state: there.get(state, 0)
        if is_all_there or state in going_on
        else max(there.get(state, 0), counted.get(state, 0))
        for state in states
    }


async def counts_of(look: Look) -> tuple[str, dict[str, int]]:
    """Return the newest event and the counts that are wrong, as they should be (S13).

    Jobs that ended long ago are counted and gone: those counts are believed as far as they can be.
    """
    _, (counts, newest) = await look.at_once(
        ("HGETALL", look.keys.key("counts")), newest_event(look)
    )
    known = {name.decode(): int(count) for name, count in counts.items()}
    there = await _count_as_of(look, id_of(newest))
    wanted = known | _wanted(there, known, known.get("submitted", 0))
    wanted = {state: max(0, count) for state, count in wanted.items() if state != "submitted"}
    wanted["submitted"] = sum(wanted.values())
    return id_of(newest), {it: n for it, n in wanted.items() if known.get(it, 0) != n}


async def _count_as_of(look: Look, since: str) -> Counter[str]:
    """Count the jobs by state as they were at the event ``since``, a page at a time.

    Transfers are counted apart. Later changes are undone: the first later event of a job names the
    state that it had before.
    """
    states: Counter[str] = Counter()
    had: dict[str, str] = {}
    read_to = since
    async for jobs in pages_of_jobs(look):
        _, (newest, *seen) = await look.at_once(
            newest_event(look), *(("HMGET", look.keys.job(job), "state", "kind") for job in jobs)
        )
        if (up_to := id_of(newest)) != read_to:
            async for event in events_between(look, f"({read_to}", up_to):
                had.setdefault(event["job"], event["from"])
            read_to = up_to
        for job, (state, kind) in zip(jobs, seen, strict=True):
            # A job that was submitted later had no state.
            if before := had.get(job, (state or b"").decode()):
                states[f"transfer_{before}" if kind == b"transfer" else before] += 1
    return states
