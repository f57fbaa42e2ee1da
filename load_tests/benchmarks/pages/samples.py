"""What a benchmark measured, and the file that keeps it.

`load_tests/results/<bench>.json` holds the runs of one benchmark, each with the commit, the machine
and the versions that it was taken with. Everything that `docs/performance.md` says is made from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

RESULTS: Final = Path(__file__).parents[2] / "results"

# What tells one measurement from another of its benchmark: {"drivers": 1000, "racing": 16}.
Case: TypeAlias = dict[str, int | float | str]


class Sample(msgspec.Struct, frozen=True):
    """One metric of one contestant in one case.

    `values`: one for each repetition, in `unit`; those of two contestants with the same index were
    taken one after the other, so they make a pair. `raw`: what each value was worked out from, for
    each repetition, in `unit` too; empty when the value is what was read.
    """

    case: Case
    contestant: str
    metric: str
    unit: str
    values: list[float]
    raw: list[list[float]] = msgspec.field(default_factory=list)


class Run(msgspec.Struct, frozen=True):
    """One run of a benchmark.

    `commit` ends in `+` if the sources had changes that were not committed. `at`: RFC 3339, UTC.
    `machine`: processor, cores, memory, kernel. `versions`: of Python, the servers, the libraries.
    """

    commit: str
    at: str
    command: str
    took_s: float
    machine: dict[str, str]
    versions: dict[str, str]
    samples: list[Sample]


class Results(msgspec.Struct, frozen=True):
    """The runs of a benchmark, oldest first. A case stands in one run only."""

    bench: str
    runs: list[Run] = msgspec.field(default_factory=list)

    def with_run(self, run: Run) -> "Results":
        """Return these results with a new run, whose cases replace those of earlier runs.

        A case is replaced as a whole: contestants are compared within one run or not at all.
        """
        new = {_key(sample.case) for sample in run.samples}
        older = [
            msgspec.structs.replace(old, samples=kept)
            for old in self.runs
            if (kept := [sample for sample in old.samples if _key(sample.case) not in new])
        ]
        return Results(self.bench, [*older, run])

    @property
    def samples(self) -> list[Sample]:
        """Those of all runs."""
        return [sample for run in self.runs for sample in run.samples]

    def find(self, contestant: str, metric: str, **case: float | str) -> Sample | None:
        """Return the sample of a case that has at least these marks; None if there is none.

        Raises `ValueError` if there are several.
        """
        found = [
            sample
            for sample in self.samples
            if (sample.contestant, sample.metric) == (contestant, metric)
            and case.items() <= sample.case.items()
        ]
        if len(found) > 1:
            raise ValueError(f"{len(found)} samples of {contestant} {metric} for {case}")
        return found[0] if found else None

    def case_values(self, mark: str) -> list[int | float | str]:
        """Return the values of a mark in the cases, in the order in which they were measured."""
        values = (sample.case[mark] for sample in self.samples if mark in sample.case)
        return list(dict.fromkeys(values))


def read_results(bench: str, folder: Path = RESULTS) -> Results:
    """Return the results of a benchmark; without runs if there is no file yet.

    Raises `ValueError` with the file's name when it is not one of ours.
    """
    path = folder / f"{bench}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except FileNotFoundError:
        return Results(bench)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path.name} holds no results: {error}") from error


def write_results(results: Results, folder: Path = RESULTS) -> Path:
    """Write the results with one sample per line, so that a diff shows what has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results.bench}.json"
    runs = ",\n".join(_run_text(run) for run in results.runs)
    path.write_text(f'{{"bench": "{results.bench}", "runs": [\n{runs}\n]}}\n')
    return path


def sample(
    case: Mapping[str, float | str],
    contestant: str,
    metric: str,
    unit: str,
    values: Sequence[float],
    raw: Iterable[Sequence[float]] = (),
) -> Sample:
    """Return a sample with its values rounded to five digits: more would be noise."""
    return Sample(
        case=dict(case),
        contestant=contestant,
        metric=metric,
        unit=unit,
        values=[_rounded(value) for value in values],
        raw=[[_rounded(value) for value in one] for one in raw],
    )


def _run_text(run: Run) -> str:
    head = msgspec.to_builtins(msgspec.structs.replace(run, samples=[]))
    del head["samples"]
    opening = msgspec.json.encode(head).decode().removesuffix("}")
    samples = ",\n".join(msgspec.json.encode(sample).decode() for sample in run.samples)
    return f'{opening},"samples":[\n{samples}\n]}}'


def _key(case: Case) -> tuple[tuple[str, float | str], ...]:
    return tuple(sorted(case.items()))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
