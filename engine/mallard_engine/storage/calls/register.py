"""The port `Register` on Redis: the operators' register of drivers, and their aliases."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from mallard_engine.core.vehicles import (
    OTHER_ROOM,
    USUAL_KIND,
    USUAL_ROOM,
    DriverProfile,
    RegisteredDriver,
    stated,
)
from mallard_engine.ports import Effects, NoSuchDriver, Register
from mallard_engine.storage.calls.batcher import Batcher
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.records.drivers import read_driver, read_position, read_profile
from mallard_protocol.codes import TERMINAL_KEPT_MS

# What `lib/vehicles.lua` reads.
KINDS: Final[Mapping[str, Any]] = {
    "usual": USUAL_KIND,
    "rooms": {kind: tuple(room) for kind, room in USUAL_ROOM.items()},
    "other": tuple(OTHER_ROOM),
}
# A job that a service can still read shows the same alias as when it was last read.
ALIAS_KEPT_MS: Final = 4 * TERMINAL_KEPT_MS
_MAX_BATCH: Final = 256


class _Claims(msgspec.Struct):
    alias: str | None = None


class _Claimed(msgspec.Struct):
    claims: _Claims | None = None


_claimed = msgspec.msgpack.Decoder(_Claimed).decode


class RedisRegister(Register):
    """The register on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        # By market. Services that ask in the same turn of the event loop share a call.
        self._aliases_asked: dict[str, Batcher[tuple[str, str, str], str]] = {}

    async def put(
        self,
        market: str,
        driver: str,
        profile: DriverProfile | None,
        *,
        suspended: bool,
        actor: str,
    ) -> tuple[RegisteredDriver, Effects]:
        keys = self._runner.keys[market]
        args: dict[str, Any] = {
            "driver": driver,
            "kinds": KINDS,
            "suspended": suspended,
            "actor": actor,
        }
        if profile is not None:
            args["profile"] = stated(profile)
        reply = await self._runner.transition("register", keys, [keys.key("registry")], args)
        return _registered(*reply.rest), reply.effects

    async def read(self, market: str, driver: str) -> RegisteredDriver:
        keys = self._runner.keys[market]
        names = [keys.key(name) for name in ("drivers", "positions", "registry")]
        verdict, *found = await self._runner.run(
            "registered", names, {"driver": driver, "kinds": KINDS}
        )
        if verdict == b"no_driver":
            raise NoSuchDriver(driver)
        return _registered(*found)

    async def aliases(
        self, market: str, service: str, names: Mapping[str, str]
    ) -> Mapping[str, str]:
        if (asked := self._aliases_asked.get(market)) is None:
            asked = Batcher(partial(self._aliases, market), 0, _MAX_BATCH)
            self._aliases_asked[market] = asked
        found = await asyncio.gather(
            *(asked.add((service, driver, name)) for driver, name in names.items())
        )
        return dict(zip(names, found, strict=True))

    async def _aliases(self, market: str, asked: Sequence[tuple[str, str, str]]) -> Sequence[str]:
        keys = self._runner.keys[market]
        aliases = await self._runner.run(
            "aliases",
            [
                keys.key("drivers"),
                keys.key("registry"),
                *(keys.alias(service, driver) for service, driver, _ in asked),
            ],
            {
                "drivers": [driver for _, driver, _ in asked],
                "names": [name for *_, name in asked],
                "kept_ms": ALIAS_KEPT_MS,
            },
        )
        return [alias.decode() for alias in aliases]


def _registered(record: bytes, position: bytes | None, packed: bytes | None) -> RegisteredDriver:
    profile = read_profile(packed) if packed else None
    driver = read_driver(record, read_position(position))
    return RegisteredDriver(driver, profile, given_alias(record, profile))


def given_alias(record: bytes, profile: DriverProfile | None) -> str | None:
    """Return a driver's alias: that of its entry in the register, else of its token."""
    claims = _claimed(record).claims
    return (profile and profile.alias) or (claims and claims.alias) or None
