"""`mallard token`: print bearer tokens for drivers, order services, operators and shops."""

import argparse
from typing import Any, Final

from mallard_engine.cli.live.engine import tokens_of
from mallard_engine.cli.live.links import links_of
from mallard_engine.cli.options import (
    add_settings_flags,
    identifier,
    market_named,
    number,
    places_of,
    settings_of,
)
from mallard_engine.config.settings import ConfigError
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.auth.sign_in import PAGE_OF
from mallard_protocol.codes import Role

_DAY_S: Final = 86_400
_LONGEST_TTL_S: Final = 10 * 366 * _DAY_S


def add_parser(subparsers: Any) -> None:
    """Add `token driver`, `token orders`, `token operator` and `token store`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "token", help="print tokens for drivers, order services, operators and shops"
    )
    roles = parser.add_subparsers(metavar="ROLE", dest="role", required=True)
    driver = roles.add_parser(Role.DRIVER.value, help="one token for each driver")
    driver.add_argument("ids", nargs="+", metavar="ID", type=identifier, help="id of a driver")
    driver.add_argument("--market", required=True, metavar="M", help="the drivers' market")
    for role, help_text in (
        (Role.ORDERS, "a token for an order service"),
        (Role.OPERATOR, "a token for an operator"),
        (Role.STORE, "a token for the counter of a shop"),
    ):
        one = roles.add_parser(role.value, help=help_text)
        one.add_argument("ids", nargs=1, metavar="NAME", type=identifier, help="name of its holder")
        if role is not Role.STORE:
            one.add_argument(
                "--market",
                action="append",
                dest="markets",
                metavar="M",
                help="bound it to this market; may be repeated (default: all markets)",
            )
    counter = roles.choices[Role.STORE.value]
    counter.add_argument("--mall", required=True, metavar="M", help="the shop's mall")
    counter.add_argument("--store", required=True, metavar="S", help="the id of the shop")
    for action in roles.choices.values():
        action.add_argument(
            "--ttl-s",
            type=number(int, 1, _LONGEST_TTL_S),
            default=_DAY_S,
            metavar="SECONDS",
            help="lifetime of the token in seconds (default: 86400)",
        )
        add_settings_flags(action)
    for role, page in PAGE_OF.items():
        roles.choices[role.value].add_argument(
            "--link",
            action="store_true",
            help=f"print a link that opens /{page} signed in; it works once, within 5 minutes",
        )


def run(args: argparse.Namespace) -> int:
    """Print the tokens. Raises `ConfigError` for an unknown market or without a signing secret."""
    settings = settings_of(args)
    market: str | None = getattr(args, "market", None)
    if market is not None:
        market_named(market, places_of(settings))
    markets: list[str] | None = getattr(args, "markets", None)
    for bound in markets or ():
        market_named(bound, places_of(settings))
    mall: str | None = getattr(args, "mall", None)
    store: str | None = getattr(args, "store", None)
    if mall is not None and store is not None:
        _check_store(places_of(settings), mall, store)
    tokens = tokens_of(settings)
    role = Role(args.role)
    minted = [
        tokens.mint(
            *(name, role),
            ttl_s=args.ttl_s,
            market=market,
            markets=markets,
            mall=mall,
            store=store,
        )
        for name in args.ids
    ]
    print("\n".join(links_of(settings, role, minted) if getattr(args, "link", False) else minted))
    return 0


def _check_store(places: Places, mall: str, store: str) -> None:
    """Raise `ConfigError` unless the store exists."""
    if mall not in places.malls:
        raise ConfigError(f"there is no mall {mall!r}")
    if store not in (known := places.malls[mall].stores):
        raise ConfigError(f"{mall} has no store {store!r}: it has {', '.join(known)}")
