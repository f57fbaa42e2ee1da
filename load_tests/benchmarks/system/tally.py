"""Collects the values of contestants that run in turn, and turns them into samples."""

from collections.abc import Callable, Mapping, Sequence

from load_tests.benchmarks.benches import PrintLine
from load_tests.benchmarks.pages.samples import Sample, sample

Case = Mapping[str, float | str]


class Tally:
    """The values by case, contestant and metric, one per repetition."""

    def __init__(self) -> None:
        self._values: dict[
            tuple[tuple[tuple[str, float | str], ...], str, str, str], list[float]
        ] = {}

    def add(self, case: Case, contestant: str, metric: str, unit: str, value: float) -> None:
        """Add a value of one repetition."""
        key = (tuple(case.items()), contestant, metric, unit)
        self._values.setdefault(key, []).append(value)

    def samples(self) -> list[Sample]:
        """Return all samples in the order of their addition."""
        return [
            sample(dict(case), contestant, metric, unit, values)
            for (case, contestant, metric, unit), values in self._values.items()
        ]


def in_turn(
    contestants: Sequence[str], repetitions: int, print_line: PrintLine, run: Callable[[str], str]
) -> None:
    """Run the contestants in turn: A B C, A B C, … `run` returns a line to print."""
    for repetition in range(1, repetitions + 1):
        for name in contestants:
            print_line(f"{repetition}/{repetitions} {name}: {run(name)}")
