"""Rule: what derives from records is lost, and `mallard check --repair` writes it anew."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.storage.audit.audit import Audit, Breach, audit
from mallard_engine.storage.audit.repair import Repair, repair
from mallard_engine.storage.audit.views import Look
from mallard_engine.storage.keys import job_at
from mallard_protocol.lifecycle import ON_BOARD, JobState, Risk
from tests.properties.invariants import may_be_asked
from tests.properties.machine import StoreMachine, recent
from tests.properties.rules.drivers.comeback import ComebackRules
from tests.properties.world import MARKET, Snapshot

# Each returns the command that breaks something of a job or of a driver, if it can be broken.
Break = Callable[[StoreMachine, str], tuple[str | int, ...] | None]


def _due(machine: StoreMachine, job: str) -> tuple[str | int, ...] | None:
    """The job's next step is forgotten. On board it needs none: its driver takes it."""
    if machine.model.jobs[job].state in ON_BOARD:
        return None
    own = [entry for entry in machine.seen.due if entry.endswith(f"/{job}")]
    is_one = len(own) == 1 and own[0].startswith(("retry/", "release/", "silent/"))
    return ("ZREM", machine.world.keys.key("due"), own[0]) if is_one else None


def _queue(machine: StoreMachine, job: str) -> tuple[str | int, ...] | None:
    """The queue of its mall does not have it."""
    mall = machine.model.jobs[job].mall
    places = [it.decode() for it in machine.seen.values[f"queue:{mall}"][::2]]
    own = [place for place in places if job_at(place) == job]
    return ("ZREM", machine.world.keys.wait(mall), own[0]) if own else None


def _waiting(machine: StoreMachine, job: str) -> tuple[str | int, ...] | None:
    """Rounds cannot read it."""
    is_there = job in machine.seen.waiting
    return ("HDEL", machine.world.keys.key("waiting"), job) if is_there else None


def _listed(machine: StoreMachine, job: str) -> tuple[str | int, ...]:
    """The lists of jobs do not have it."""
    return "ZREM", machine.world.keys.key("by_age"), job


def _risk(machine: StoreMachine, job: str) -> tuple[str | int, ...] | None:
    """Its risk is not looked at, though it may change."""
    known = machine.seen.jobs[job]
    stays = known.risk is Risk.LATE or known.state is JobState.RETURNING
    is_there = job in machine.seen.risks and not stays
    return ("ZREM", machine.world.keys.key("risks"), job) if is_there else None


def _counted(machine: StoreMachine, job: str) -> tuple[str | int, ...]:
    """Its state is counted once too often: an ended one's too, as all jobs are still there."""
    state = machine.model.jobs[job].state
    return "HINCRBY", machine.world.keys.key("counts"), state, 1


def _miscounted(machine: StoreMachine, job: str) -> tuple[str | int, ...]:
    """Its state is not counted."""
    state = machine.model.jobs[job].state
    return "HINCRBY", machine.world.keys.key("counts"), state, -1


def _idle(machine: StoreMachine, _: str) -> tuple[str | int, ...] | None:
    """A free driver is found by nobody."""
    seen = machine.seen
    # One who may not be asked any more is taken out anyhow.
    idle = [it for it in sorted(seen.idle) if may_be_asked(seen, seen.drivers[it], machine.policy)]
    return ("ZREM", machine.world.keys.key("idle"), idle[0]) if idle else None


BREAKS: Mapping[str, Break] = {
    "due entry": _due,
    "queue": _queue,
    "waiting": _waiting,
    "list": _listed,
    "risk": _risk,
    "counted twice": _counted,
    "not counted": _miscounted,
    "idle": _idle,
}


class RepairRules(ComebackRules):
    """The rule. Findings that the audit has beside what it breaks are left to the nodes."""

    @precondition(lambda self: self.model.jobs)
    @rule(broken=st.sampled_from(sorted(BREAKS)), back=recent)
    def something_is_broken_and_mended(self, broken: str, back: int) -> None:
        """Break what derives from a record, and repair: records are as before, all holds again.

        What was found before is left out: the nodes mend that, not the repair.
        """
        command = BREAKS[broken](self, self.job_at(back))
        if command is None:
            return
        self.log_step(f"{broken} is broken: {command}")
        before = self.seen
        known = _found(self.world.run(self._audit()))
        self.world.command(*command)

        async def judge() -> Audit:
            found = await self._audit()
            new = tuple(it for it in found.breaches if _name(it) not in known)
            return replace(found, breaches=new)

        done = self.world.run(self._repair(judge))
        self._check(None)
        assert done.mends, f"{broken}: nothing was mended"
        assert not done.left.breaches, f"{broken}: the repair leaves {done.left.breaches}"
        assert self.seen.jobs == before.jobs, f"{broken}: the repair changed a job"
        assert self.seen.drivers == before.drivers, f"{broken}: the repair changed a driver"
        assert _counts(self.seen) == _counts(before), f"{broken}: the repair counts otherwise"
        assert self.seen.idle == before.idle, f"{broken}: other drivers are free"

    async def _audit(self) -> Audit:
        policies = {MARKET: self.policy}
        return await audit(self.world.url, policies, settle_s=0, now_ms=lambda: self.world.now)

    async def _repair(self, judge: Callable[[], Awaitable[Audit]]) -> Repair:
        store = self.world.stores["n1"]
        look = Look(store.runner.link, self.world.keys, self.policy, lambda: self.world.now)
        return await repair(store, [look], judge)


def _counts(seen: Snapshot) -> dict[str, int]:
    """What is counted. A state that no job has may be counted as zero, or not at all."""
    return {state: count for state, count in seen.counts.items() if count}


def _found(seen: Audit) -> set[tuple[str, str, str]]:
    return {_name(it) for it in seen.breaches}


def _name(breach: Breach) -> tuple[str, str, str]:
    return breach.rule, breach.kind, breach.id
