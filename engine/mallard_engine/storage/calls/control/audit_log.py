"""The port `AuditLog` on Redis: one log for all markets."""

from collections.abc import Sequence

import msgspec

from mallard_engine.core.operator_calls import OperatorCall
from mallard_engine.ports.control.audit_log import AuditLog
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.records.packing import pack

KEY = "mallard:audit"
# Shares the hash tag, and so the slot, of the other key.
ENTRIES = f"{{{KEY}}}:entries"
# 90 days, and about 100 MB at most.
_KEPT_MS = 90 * 86_400_000
_MOST = 100_000

_call = msgspec.msgpack.Decoder(OperatorCall).decode


class RedisAuditLog(AuditLog):
    """The audit log on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def note(self, call: OperatorCall) -> None:
        args = {"id": call.id, "at": call.at_ms, "most": _MOST, "kept_ms": _KEPT_MS}
        await self._runner.run("note_call", [KEY], args, [pack(call)])

    async def before(
        self, at_ms: int, call: str, since_ms: int, limit: int
    ) -> Sequence[OperatorCall]:
        found: list[str] = []
        offset = 0
        while len(found) < limit:
            page = await self._runner.link.call(
                *("ZRANGE", KEY, at_ms, since_ms, "BYSCORE", "REV", "LIMIT", offset, limit),
                "WITHSCORES",
            )
            for name, at in zip(page[::2], page[1::2], strict=True):
                if (int(float(at)), name.decode()) < (at_ms, call):
                    found.append(name.decode())
            if len(page) < 2 * limit:
                break
            offset += limit
        if not found:
            return ()
        packed = await self._runner.link.call("HMGET", ENTRIES, *found[:limit])
        return [_call(each) for each in packed if each is not None]
