"""The port `Revocations` on Redis: one hash for all markets."""

from mallard_engine.ports import Revocation, Revocations, StoreFull
from mallard_engine.storage.calls.script_runner import ScriptRunner

KEY = "mallard:revoked"
# Entries are kept for ever, because a token may be valid for years.
_MOST = 10_000


class RedisRevocations(Revocations):
    """Revocations on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def revoke(self, sub: str, role: str, market: str) -> int:
        args = {"field": f"{role}/{sub}/{market}", "most": _MOST}
        at_ms = int(await self._runner.run("revoke", [KEY], args))
        if not at_ms:
            raise StoreFull(f"{_MOST} subjects have revoked tokens")
        return at_ms

    async def read(self, known: int) -> tuple[int, tuple[Revocation, ...]] | None:
        version = int(await self._runner.link.call("HGET", KEY, "version") or 0)
        if version == known:
            return None
        flat = await self._runner.link.call("HGETALL", KEY)
        fields = {
            name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)
        }
        version = fields.pop("version", 0)
        entries = []
        for name, until_ms in fields.items():
            role, sub, market = name.split("/", 2)
            entries.append(Revocation(role, sub, market, until_ms))
        return version, tuple(entries)
