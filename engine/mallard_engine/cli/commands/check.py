"""`mallard check`: audit a Redis against the invariants and report every violation."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from mallard_engine.cli.options import add_settings_flags, number, places_of, settings_of
from mallard_engine.cli.redis_url import redis_url
from mallard_engine.config.settings import ConfigError
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.logs import configure_logging
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.audit.audit import Audit, audit, patient_link
from mallard_engine.storage.audit.repair import CannotJudge, repair
from mallard_engine.storage.audit.views import Look
from mallard_engine.storage.client.errors import EmbeddedServerError, LinkReplyError
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.redis_storage import RedisStorage

_MAX_LIMIT: Final = 100_000_000
_NOT_ALL: Final = 3


def add_parser(subparsers: Any) -> None:
    """Add `check`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="audit the engine's data in Redis",
        description="Checks the data in Redis against the engine's invariants, without writing "
        "unless --repair is given. Nodes may be running. Run it with the settings of the nodes. "
        "Exit status: 0 no breach, 1 breaches, 2 Redis is unreachable or a newer version wrote the "
        "data, 3 no breach, but the audit is incomplete.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="repair what the stored records determine, with a line and an entry of the audit log "
        "for each; report the rest. Not with --limit",
    )
    parser.add_argument(
        "--limit",
        type=number(int, 1, _MAX_LIMIT),
        metavar="N",
        help="audit the newest N jobs of a market, and N records of each other kind (default: all)",
    )
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Audit Redis and print the result; the parser's description lists the exit statuses."""
    settings = settings_of(args)
    if args.repair and args.limit is not None:
        raise ConfigError("--repair audits everything: leave out --limit")
    # Log a lost connection only once, as the error that ends the audit.
    configure_logging(level="error")
    markets = places_of(settings).markets
    policies = {market: settings.market_policy(market) for market in markets}
    malls = {market: tuple(place.malls.values()) for market, place in markets.items()}
    try:
        with redis_url(settings) as url:
            embedded = settings.redis_url is None
            judge = partial(audit, url, policies, limit=args.limit, embedded=embedded, malls=malls)
            found = asyncio.run(
                _repaired(url, policies, judge, embedded=embedded, quiet=args.json)
                if args.repair
                else judge()
            )
    except CannotJudge as left_out:
        print(f"mallard: not repaired: the audit is incomplete: {left_out}", file=sys.stderr)
        return _NOT_ALL
    except (StoreUnavailable, EmbeddedServerError) as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 2
    print("\n".join(_lines(found)) if not args.json else json.dumps(asdict(found)))
    return 1 if found.breaches else _NOT_ALL if found.left_out else 0


async def _repaired(
    url: str,
    policies: Mapping[str, MarketPolicy],
    judge: Callable[[], Awaitable[Audit]],
    *,
    embedded: bool,
    quiet: bool,
) -> Audit:
    """Mend what can be mended and print each mend; return the audit of what is left."""
    async with patient_link(url) as link:
        # Judge first: a replica or a newer version's data refuses the connection that writes.
        await judge()
        store = RedisStorage(url, policies, embedded=embedded)
        try:
            await store.connect()
            looks = [Look(link, MarketKeys(market), policy) for market, policy in policies.items()]
            shown = sys.stderr if quiet else sys.stdout
            done = await repair(store, looks, judge, lambda mend: print(mend, file=shown))
        except LinkReplyError as error:
            raise StoreUnavailable(str(error)) from error
        finally:
            await store.close()
    return done.left


def _lines(found: Audit) -> Iterator[str]:
    for warning in found.warnings:
        yield f"store: {warning}"
    for breach in found.breaches:
        yield f"{breach.rule}  {breach.market}  {breach.kind} {breach.id}: {breach.what}"
    if found.left_out:
        left = ", ".join(f"{count} × {kind}" for kind, count in sorted(found.left_out.items()))
        yield f"not looked at: {left}"
    names = {"job": "jobs", "driver": "drivers", "offer": "offers", "due": "due entries"}
    counted = ", ".join(f"{found.looked_at.get(kind, 0)} {name}" for kind, name in names.items())
    rules = Counter(breach.rule for breach in found.breaches)
    summary = ", ".join(f"{count} × {rule}" for rule, count in sorted(rules.items()))
    yield f"{summary or 'no breach'}; looked at {counted}"
