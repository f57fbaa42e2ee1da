"""The attackers' process: plays every attack for a time, then reports what it did.

It reads its task as JSON from standard input and writes its report as JSON to standard output. It
runs at the lowest priority, so that the engine is measured and not the lack of a core.
"""

import asyncio
import contextlib
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from load_tests.attacks.registry import Attack, Victim, attacks
from load_tests.credentials import Credentials
from load_tests.places import RunPlaces
from load_tests.priority import lower_priority

NICENESS: Final = 19
# An attacker that is disconnected at once returns, but not in a tight loop.
_PAUSE_S: Final = 0.02
_CUT: Final = (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError)


async def play(setup: dict[str, Any]) -> dict[str, Any]:
    """Play all requested attacks; return the counts of each and the CPU used."""
    asked = [it for it in attacks() if it.name in setup["attacks"]]
    began_cpu_s = time.process_time()
    done: dict[str, Counter[str]] = {it.name: Counter() for it in asked}
    tasks = [
        asyncio.create_task(_attacker(one, victim))
        for one, victim in _attackers(setup, asked, done)
    ]
    await asyncio.sleep(setup["seconds"])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "cpu_s": time.process_time() - began_cpu_s,
        "done": {name: dict(counts) for name, counts in done.items()},
    }


def _attackers(
    setup: dict[str, Any], asked: Sequence[Attack], done: dict[str, Counter[str]]
) -> Iterator[tuple[Attack, Victim]]:
    """Yield each attacker: its attack and its view of the victim."""
    credentials = Credentials(secret=setup["secret"])
    places = RunPlaces.read(f"http://{setup['host']}:{setup['port']}", credentials.orders)
    tokens = {it: credentials.service(f"attacker-{it}") for it in {one.service for one in asked}}
    for number, one in enumerate(asked):
        for turn in range(one.at_once):
            yield (
                one,
                Victim(
                    host=setup["host"],
                    port=setup["port"],
                    address=f"127.1.{number}.{turn + 1}",
                    credentials=credentials,
                    token=tokens[one.service],
                    places=places,
                    rng=random.Random(f"{number} {turn}"),
                    done=done[one.name],
                ),
            )


async def _attacker(attack: Attack, victim: Victim) -> None:
    while True:
        try:
            await attack.play(victim)
            victim.done["rounds"] += 1
        except _CUT as error:
            victim.done[f"cut: {type(error).__name__}"] += 1
        await asyncio.sleep(_PAUSE_S)


def main(arguments: Sequence[str] = ()) -> None:
    """Play and report."""
    del arguments
    lower_priority(NICENESS)
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = asyncio.run(play(json.load(sys.stdin)))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
