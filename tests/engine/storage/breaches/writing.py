"""Writes into a Redis past its scripts, to plant a breach."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mallard_engine.ports import JobRef
from tests.engine.storage.worlds import World

Plant = Callable[[World], Awaitable[None]]


async def set_job(world: World, ref: JobRef, **fields: Any) -> None:
    await world.redis.hset(world.keys.job(ref.job), mapping=fields)


async def change(world: World, name: str, field: str, **fields: Any) -> None:
    """Change a packed record of one of the market's hashes."""
    key = world.keys.key(name)
    record = msgspec.msgpack.decode(await world.redis.hget(key, field))
    await world.redis.hset(key, field, msgspec.msgpack.encode(record | fields))


async def held(world: World) -> JobRef:
    await world.driver("ann")
    return (await world.assigned("ann"))[0]
