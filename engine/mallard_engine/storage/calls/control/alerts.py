"""The ports `Alerts` and `DeadLetters` on Redis."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mallard_engine.core.operator_records import Alert, DeadLetter
from mallard_engine.ports import Effects, JobRef
from mallard_engine.ports.control.alerts import Alerts, DeadLetters, NoSuchAlert, NoSuchLetter
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_protocol.codes import TERMINAL_KEPT_MS

_LISTS: Mapping[str, tuple[str, ...]] = {
    "open": ("alerts_open",),
    "acknowledged": ("alerts_done",),
    "": ("alerts_open", "alerts_done"),
}
_FORGET_LIMIT = 256
_OWN_FIELDS = frozenset({"kind", "what", "alert", "at", "by", "acknowledged_ms"})


class RedisAlerts(Alerts):
    """Alerts on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def list(self, market: str, state: str) -> Sequence[str]:
        keys, call = self._runner.keys[market], self._runner.link.call
        found = await asyncio.gather(
            *(call("ZRANGE", keys.key(name), 0, -1) for name in _LISTS[state])
        )
        return [name.decode() for names in found for name in names]

    async def read(self, market: str, alerts: Sequence[str]) -> Sequence[Alert]:
        if not alerts:
            return ()
        key = self._runner.keys[market].key("alerts")
        packed = await self._runner.link.call("HMGET", key, *alerts)
        return [
            read_alert(alert, each)
            for alert, each in zip(alerts, packed, strict=True)
            if each is not None
        ]

    async def acknowledge(self, market: str, alert: str, actor: str) -> tuple[Alert, Effects]:
        args = {"id": alert, "actor": actor}
        keys = self._runner.keys[market]
        reply = await self._runner.transition("acknowledge", keys, (), args)
        if reply.verdict == "gone":
            raise NoSuchAlert(alert)
        return read_alert(alert, reply.rest[0]), reply.effects

    async def forget(self, market: str) -> int:
        keys = self._runner.keys[market]
        names = list(map(keys.key, ("alerts", "alerts_open", "alerts_done")))
        args = {"limit": _FORGET_LIMIT, "kept_ms": TERMINAL_KEPT_MS}
        return int(await self._runner.run("forget_alerts", names, args))


class RedisDeadLetters(DeadLetters):
    """Dead letters on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def list(self, market: str) -> Sequence[DeadLetter]:
        key = self._runner.keys[market].key("dead_letters")
        flat = await self._runner.link.call("HGETALL", key)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [_read_letter(name.decode(), packed) for name, packed in pairs]

    async def bury(self, ref: JobRef, attempt: int, rounds: int, error: str) -> Effects | None:
        args = {"attempt": attempt, "rounds": rounds, "error": error}
        reply = await self._runner.on_job("bury", ref, args)
        return None if reply.verdict == "gone" else reply.effects

    async def retry(self, market: str, letter: str, actor: str) -> tuple[DeadLetter, Effects]:
        key = self._runner.keys[market].key("dead_letters")
        packed = await self._runner.link.call("HGET", key, letter)
        if packed is None:
            raise NoSuchLetter(letter)
        found = _read_letter(letter, packed)
        args = {"letter": letter, "actor": actor}
        reply = await self._runner.on_job("revive", JobRef(found.job, found.mall), args)
        if reply.verdict == "gone":
            raise NoSuchLetter(letter)
        return found, reply.effects


def read_alert(alert: str, packed: bytes) -> Alert:
    """Read an alert as the scripts store it."""
    fields: dict[str, Any] = msgspec.msgpack.decode(packed)
    details = {name: value for name, value in fields.items() if name not in _OWN_FIELDS}
    return Alert(
        id=alert,
        what=fields["what"],
        at_ms=int(fields["at"]),
        by=fields.get("by", ""),
        acknowledged_ms=fields.get("acknowledged_ms"),
        details=details,
    )


def _read_letter(letter: str, packed: bytes) -> DeadLetter:
    fields: dict[str, Any] = msgspec.msgpack.decode(packed)
    return DeadLetter(
        id=letter,
        kind=fields["kind"],
        at_ms=int(fields["at"]),
        error=fields["error"],
        tries=int(fields["rounds"]),
        job=fields["job"],
        service=fields["service"],
        mall=fields["mall"],
        attempt=int(fields["attempt"]),
    )
