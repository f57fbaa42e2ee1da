"""The scripts of `mallard check --repair`: they rebuild what is derived from a record.

Each is fenced by what the audit read: a job that has changed since is left alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mallard_engine.core.job_ids import market_of_job
from mallard_engine.ports import JobRef
from mallard_engine.storage.calls.script_runner import ScriptRunner

ENTRIES: Final = ("due", "waiting", "externals", "by_shop", "by_customer", "returns")
Did = tuple[str, ...]
"""What was written, in words; empty: nothing had to be, or the item had changed."""


class Mending:
    """Mends one item at a time."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def job(self, ref: JobRef, state: str, attempt: int, wrong: Sequence[str]) -> Did:
        """Rebuild what is derived from a job's record. ``wrong``: due entries to remove."""
        keys = self._runner.keys[market_of_job(ref.job) or ""]
        lists = [keys.key("by_age"), keys.key("by_service")]
        args = {"state": state, "attempt": attempt, "wrong": wrong, "lists": lists}
        return _did(await self._runner.on_job("mend_job", ref, args))

    async def driver(
        self, market: str, driver: str, *, node: str, jobs: Sequence[str], malls: Sequence[str]
    ) -> Did:
        """Rebuild a driver's index entries, and drop from its record what belongs to others.

        ``jobs``: those that it holds; ``malls``: to which it may seem to be on its way.
        """
        keys = self._runner.keys[market]
        args = {"driver": driver, "node": node, "malls": malls, "jobs": list(map(keys.job, jobs))}
        extra = [keys.held(node)]
        return _did(await self._runner.transition("mend_driver", keys, extra, args))

    async def offer(self, market: str, offer: str, jobs: Sequence[str]) -> Did:
        """End a live offer that its driver or one of its jobs does not have."""
        keys, args = self._runner.keys[market], {"offer": offer}
        return _did(
            await self._runner.transition("mend_offer", keys, list(map(keys.job, jobs)), args)
        )

    async def lost(
        self, market: str, job: str, *, service: str, external: str, named_by: Sequence[str]
    ) -> Did:
        """Raise an alert for a job that is gone before its end; drop the references to it."""
        keys = self._runner.keys[market]
        lists = [keys.key("by_age"), keys.key("by_service")]
        # A script names one key of this kind at least.
        extra = [keys.job(job), *lists, *(named_by or [keys.idempotency(service, "")])]
        args = {"job": job, "service": service, "external": external}
        return _did(await self._runner.transition("mend_lost", keys, extra, args))

    async def entry(
        self, market: str, name: str, entry: str, *, job: str, state: str, mall: str = ""
    ) -> Did:
        """Remove an entry that its job, in this state, does not justify.

        ``name``: one of ``ENTRIES``, or empty for the queue of a mall.
        """
        keys = self._runner.keys[market]
        names = [*map(keys.key, ENTRIES), keys.wait(mall), keys.job(job)]
        place = 1 + (ENTRIES.index(name) if name else len(ENTRIES))
        args = {"place": place, "entry": entry, "state": state}
        return ("removed",) if await self._runner.run("mend_entry", names, args) else ()

    async def counts(self, market: str, event: str, counts: Mapping[str, int]) -> Did:
        """Set the counts of jobs, if this is still the newest event."""
        keys = self._runner.keys[market]
        names, args = [keys.key("counts"), keys.key("events")], {"event": event, "counts": counts}
        done = await self._runner.run("mend_counts", names, args)
        figures = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        return (f"counted anew: {figures}",) if done else ()

    async def forgets(self, market: str, entry: str, after_ms: int) -> Did:
        """Schedule the removal of something by `forget`, unless it is scheduled."""
        key = self._runner.keys[market].key("forget")
        at_ms = self._runner.now_ms() + after_ms
        added = await self._runner.link.call("ZADD", key, "NX", at_ms, entry)
        return ("its removal is scheduled",) if added else ()

    async def ends(self, market: str, name: str, ttl_ms: int) -> Did:
        """Give a key the TTL that it lacks."""
        key = self._runner.keys[market].key(name)
        done = await self._runner.link.call("PEXPIRE", key, ttl_ms, "NX")
        return ("has a TTL",) if done else ()


def _did(reply: Any) -> Did:
    return tuple(each.decode() for each in reply.rest[0]) if reply.verdict == "ok" else ()
