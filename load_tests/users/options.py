"""The options of a run, from locust's command line, environment or web page."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from load_tests.credentials import Credentials, read_driver_tokens, read_secret
from load_tests.drivers.app_driver import AppHabits
from load_tests.shapes import SHAPES, Timetable
from load_tests.slo import BadObjective, Objective, parse_objective
from mallard_engine.workload.behaviour import USUAL_ANSWERS, AnswerShares

DEFAULT_HOST: Final = "http://127.0.0.1:8000"
_LOOPBACK: Final = "127.0.0.1"
# Defaults of locust's own options.
_DEFAULT_DRIVERS: Final = 100
_DEFAULT_CONNECTS_PER_S: Final = 50.0
_DEFAULT_SECONDS: Final = 60.0

_REPEATABLE: Final[dict[str, Any]] = {"action": "append", "default": []}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run, on each worker and on the master."""

    name: str
    urls: tuple[str, ...]
    allow_remote: bool
    timetable: Timetable
    drivers: int
    connects_per_s: float
    habits: AppHabits = field(default_factory=AppHabits)
    markets: tuple[str, ...] = ()
    malls: tuple[str, ...] = ()
    grace_s: float = 5.0
    probe_every_s: float = 1.0
    seed: int = 1
    objectives: tuple[Objective, ...] = ()
    hgrm: Path | None = None
    on_restart: str | None = None

    @property
    def drain_s(self) -> float:
        """The time after the last order in which drivers finish and late offers arrive."""
        return max(self.habits.hold_s + self.habits.think_s, self.grace_s) + 1.0

    @classmethod
    def read(cls, host: str | None, options: argparse.Namespace) -> "RunOptions":
        """Read locust's parsed options; `host` is the environment's."""
        shape = SHAPES[options.shape]
        declines = options.decline if shape.decline_share is None else shape.decline_share
        return cls(
            name=options.run,
            urls=(host or DEFAULT_HOST, *options.node),
            allow_remote=options.allow_remote,
            timetable=Timetable(shape, _seconds(options), options.rate, options.flash_jobs),
            drivers=options.num_users,
            connects_per_s=options.spawn_rate,
            habits=AppHabits(
                options.think_s, options.hold_s, AnswerShares(declines, options.lapse)
            ),
            markets=tuple(options.market),
            malls=tuple(options.mall),
            grace_s=options.grace_s,
            probe_every_s=options.probe_every_s,
            seed=options.seed,
            objectives=tuple(map(parse_objective, options.slo)),
            hgrm=Path(options.hgrm) if options.hgrm else None,
            on_restart=options.on_restart,
        )


def share_with_workers(options: argparse.Namespace, workers: int) -> None:
    """Set the number of workers and locust's run time for the workers.

    Locust sends its master's options to the workers, but none of those that it defines itself.
    """
    options.workers = workers
    options.seconds = options.run_time or _DEFAULT_SECONDS


def take_credentials(options: argparse.Namespace) -> Credentials:
    """Read the secret and the tokens, and blank them: the master sends its options to workers.

    Raises `BadCredentials`.
    """
    secret = options.secret or (options.secret_file and read_secret(Path(options.secret_file)))
    tokens = options.driver_tokens and read_driver_tokens(Path(options.driver_tokens))
    taken = Credentials(secret or None, options.orders_token, options.operator_token, tokens or ())
    options.secret = options.orders_token = options.operator_token = None
    return taken


def add_options(parser: Any) -> None:
    """Add the options of these load tests to locust's parser."""
    # Listen on loopback only, unless another address is given explicitly.
    parser.set_defaults(host=DEFAULT_HOST, web_host=_LOOPBACK, master_bind_host=_LOOPBACK)
    parser.set_defaults(num_users=_DEFAULT_DRIVERS, spawn_rate=_DEFAULT_CONNECTS_PER_S)
    _add_traffic(parser.add_argument_group("Mallard: traffic"))
    _add_target(parser.add_argument_group("Mallard: the engine under test"))
    _add_results(parser.add_argument_group("Mallard: results"))


def _add_traffic(group: Any) -> None:
    shapes = "; ".join(f"{name}: {shape.help}" for name, shape in SHAPES.items())
    _add_shown(group, "--shape", choices=tuple(SHAPES), default="steady", help=shapes)
    for flag, kind, default, metavar, text in (
        ("--rate", _positive, 5.0, "JOBS", "jobs a second at the peak"),
        ("--flash-jobs", int, 500, "N", "jobs of the flash sale"),
        ("--hold-s", _positive, 10.0, "S", "from accepting a job to delivering it"),
        ("--think-s", _positive, 0.5, "S", "from an offer to its answer"),
        ("--decline", _share, USUAL_ANSWERS.decline, "SHARE", "of the offers that are declined"),
        ("--lapse", _share, USUAL_ANSWERS.lapse, "SHARE", "of the offers that are never answered"),
        ("--seed", int, 1, "N", "of orders and habits"),
    ):
        _add_shown(
            group, flag, type=kind, default=default, metavar=metavar, help=f"{text} ({default})"
        )
    group.add_argument("--market", **_REPEATABLE, metavar="M", help="only this one; repeatable")
    group.add_argument("--mall", **_REPEATABLE, metavar="ID", help="only this one; repeatable")
    group.add_argument(
        "--run",
        metavar="NAME",
        help="in the names of its drivers and orders; the same again finds the same drivers "
        "(default: a new one each time)",
    )


def _add_target(group: Any) -> None:
    group.add_argument(
        "--node", **_REPEATABLE, metavar="URL", help="a further node beside --host; repeatable"
    )
    group.add_argument(
        "--allow-remote",
        action="store_true",
        help="allow an engine on another machine; otherwise only loopback",
    )
    group.add_argument(
        "--secret",
        env_var="MALLARD_SECRET",
        metavar="SECRET",
        help="the engine's, to mint tokens with; each worker needs it",
    )
    for flag, variable, text in (
        ("--secret-file", "MALLARD_SECRET_FILE", "a file with the engine's secret"),
        ("--orders-token", "MALLARD_ORDERS_TOKEN", "an order service's, instead of the secret"),
        ("--operator-token", "MALLARD_OPERATOR_TOKEN", "an operator's, to see positions with"),
        ("--driver-tokens", "MALLARD_DRIVER_TOKENS", "a file with a driver's token a line"),
    ):
        group.add_argument(flag, env_var=variable, metavar="TEXT", help=text)
    group.add_argument(
        "--on-restart",
        metavar="COMMAND",
        help="run by rolling-restart when the next node is to be restarted; its number (1, 2) is "
        "the last argument. Without it the moment is only logged",
    )


def _add_results(group: Any) -> None:
    group.add_argument(
        "--slo",
        **_REPEATABLE,
        type=_objective,
        metavar="OBJECTIVE",
        help="such as 'offer latency:p99<50ms,failures<0.1%%'; repeatable. A miss: exit status 1",
    )
    group.add_argument(
        "--hgrm", metavar="FOLDER", help="write each histogram there, as HDR plotters read it"
    )
    group.add_argument(
        "--grace-s",
        type=_positive,
        default=5.0,
        metavar="S",
        help="what waits longer at the end has failed (5)",
    )
    group.add_argument(
        "--probe-every-s",
        type=_positive,
        default=1.0,
        metavar="S",
        help="a worker asks for a position this often at most (1)",
    )


def _seconds(options: argparse.Namespace) -> float:
    """Return how long orders arrive; on a worker, the master's value."""
    seconds: float = vars(options).get("seconds") or options.run_time or _DEFAULT_SECONDS
    return seconds


def _add_shown(group: Any, flag: str, **details: Any) -> None:
    """Add an option that can also be changed in locust's web page.

    Locust's parser takes this as a keyword, but the groups of its parser do not.
    """
    action = group.add_argument(flag, **details)
    action.include_in_web_ui = True
    action.is_secret = action.is_required = action.is_multiple = False


def _objective(text: str) -> str:
    """Return the text: locust sends options to workers, and an `Objective` cannot be sent."""
    try:
        parse_objective(text)
    except BadObjective as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1_000_000:
        raise argparse.ArgumentTypeError("more than 0, and less than a million")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("from 0 to 1")
    return number
