"""Runs the tests side by side: `pytest --workers 6` collects them once and forks the workers.

pytest-xdist starts Python, imports the engine and collects all tests in each worker, which takes
16 s of CPU each. A forked worker has all of that at once, and shares the memory. The parent runs no
test: it reports what the workers send, so options, plugins and the summary work as without workers.

A worker takes the next part of the tests from a pipe that holds the numbers of the parts. A part is
a file, or a piece of one that has many tests. A worker that ends too early fails the run.
"""

import contextlib
import os
import random
import struct
import sys
import traceback
from collections.abc import Iterator, Sequence
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, Final

import pytest
from _pytest.config import create_terminal_writer

# The first tests in this order wait most: others compute meanwhile.
_FIRST: Final = ("tests/e2e/", "tests/properties/")
# Long enough to set up a module's fixtures once, short enough for all workers to end together.
_PART_ITEMS: Final = 24
_NUMBER: Final = struct.Struct("!I")
# Like a worker of pytest-xdist: the cache and the reports in files are the parent's.
_AS_WORKER: Final = "workerinput"

# A forked process has none of its parent's threads, so there may be none: numpy starts them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers",
        type=int,
        default=0,
        help="run the tests in this many forked processes; 0: in this one",
    )


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in workers, if there are to be some."""
    options = session.config.option
    if not options.workers or options.collectonly or session.testsfailed:
        return None
    if commands := sys.modules.get("tests.commands"):
        commands.prepare()
    parts = _parts(session.items)
    queue, filled = os.pipe()
    os.write(filled, b"".join(map(_NUMBER.pack, range(len(parts)))))
    os.close(filled)
    workers = [_Worker(session, parts, queue) for _ in range(min(options.workers, len(parts)))]
    try:
        _report_all(session, workers)
    finally:
        # Those that still run find no further part.
        while os.read(queue, 1 << 16):
            pass
        os.close(queue)
        for worker in workers:
            worker.end()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


def _parts(items: Sequence[pytest.Item]) -> list[list[pytest.Item]]:
    parts = []
    for _, group in groupby(items, key=lambda item: item.path):
        of_file = list(group)
        parts += [of_file[i : i + _PART_ITEMS] for i in range(0, len(of_file), _PART_ITEMS)]
    # Mixed, so that the workers are not all at tests of one kind.
    random.Random(0).shuffle(parts)
    return sorted(parts, key=lambda part: not part[0].nodeid.startswith(_FIRST))


class _Worker:
    """A forked process, as the parent sees it."""

    def __init__(
        self, session: pytest.Session, parts: Sequence[Sequence[pytest.Item]], queue: int
    ) -> None:
        self.reports, theirs = Pipe(duplex=False)
        # The test that it runs, and what became of the process.
        self.running: str | None = None
        self.done = False
        self.error = ""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self.reports.close()
            _work(session, parts, queue, theirs)
        theirs.close()

    def end(self) -> None:
        """Wait until the process has ended."""
        self.reports.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _report_all(session: pytest.Session, workers: Sequence[_Worker]) -> None:
    by_reports = {worker.reports: worker for worker in workers}
    while by_reports and not (session.shouldfail or session.shouldstop):
        for ready in wait(list(by_reports)):
            assert isinstance(ready, Connection)
            worker = by_reports[ready]
            try:
                kind, value = ready.recv()
            except EOFError:
                del by_reports[ready]
                if not worker.done:
                    _report_death(session, worker)
                continue
            _take(session, worker, kind, value)


def _take(session: pytest.Session, worker: _Worker, kind: str, value: Any) -> None:
    match kind:
        case "running":
            worker.running = value
        case "report":
            hook = session.config.hook
            report = hook.pytest_report_from_serializable(config=session.config, data=value)
            hook.pytest_runtest_logreport(report=report)
        case "error":
            worker.error = value
        case "done":
            worker.done = True


def _report_death(session: pytest.Session, worker: _Worker) -> None:
    """Report a worker that ended too early as a failure of the test that it ran."""
    _, status = os.waitpid(worker.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    nodeid = worker.running or "a worker"
    path = nodeid.partition("::")[0]
    message = f"the worker ended with {code} in this test, or after it; tests may be missing\n"
    report = pytest.TestReport(
        nodeid, (path, None, nodeid), {}, "failed", message + worker.error, "call"
    )
    session.config.hook.pytest_runtest_logreport(report=report)


def _work(
    session: pytest.Session,
    parts: Sequence[Sequence[pytest.Item]],
    queue: int,
    reports: Connection,
) -> None:
    """Be a worker: run parts until there is none left. Does not return."""
    config = session.config
    try:
        setattr(config, _AS_WORKER, {})
        plugins = config.pluginmanager
        # Each process captures into files of its own and prints nothing.
        capture = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()
        capture.start_global_capturing()
        silent = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
        plugins.getplugin("terminalreporter")._tw = create_terminal_writer(config, silent)
        plugins.register(_Sender(config, reports))
        # Of `--basetemp`, which a process empties when it first needs it.
        folders = config._tmp_path_factory  # type: ignore[attr-defined]
        if given := folders._given_basetemp:
            folders._given_basetemp = given.with_name(f"{given.name}-{os.getpid()}")
        _run(session, _taken(parts, queue), reports)
        config.hook.pytest_sessionfinish(session=session, exitstatus=session.exitstatus)
        config._ensure_unconfigure()
        reports.send(("done", None))
    except BaseException:  # noqa: BLE001 - the parent reports it
        with contextlib.suppress(OSError):
            reports.send(("error", traceback.format_exc()))
        os._exit(1)
    finally:
        os._exit(0)


def _taken(parts: Sequence[Sequence[pytest.Item]], queue: int) -> Iterator[pytest.Item]:
    while number := os.read(queue, _NUMBER.size):
        yield from parts[_NUMBER.unpack(number)[0]]


def _run(session: pytest.Session, items: Iterator[pytest.Item], reports: Connection) -> None:
    # Fixtures that the next test shares stay: it has to be known before.
    item = next(items, None)
    while item is not None and not (session.shouldfail or session.shouldstop):
        reports.send(("running", item.nodeid))
        following = next(items, None)
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        item = following


class _Sender:
    """A plugin of a worker: sends each report to the parent."""

    def __init__(self, config: pytest.Config, reports: Connection) -> None:
        self._config = config
        self._reports = reports

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._reports.send(("report", data))
