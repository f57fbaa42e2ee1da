import pytest

from load_tests.benchmarks.pages.ratios import percentile, ratio, spread
from load_tests.benchmarks.pages.samples import Sample, sample
from mallard_engine.charts import three_digits


def of(*values: float, unit: str = "ms") -> Sample:
    return sample({}, "somebody", "latency", unit, values)


def test_ratio_is_the_median_of_the_pairs_ratios() -> None:
    # Halfway the machine becomes ten times slower: that changes the ratio of medians, not of pairs.
    assert ratio(of(1, 2, 10), of(2, 8, 100)) == pytest.approx((0.25, 0.1, 0.5))


def test_ratio_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        ratio(of(1), of(1, 2))
    with pytest.raises(ValueError, match="no pairs"):
        ratio(of(1), of(1, unit="µs"))
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_spread_is_formatted_as_median_and_range() -> None:
    assert str(spread([0.25, 0.1, 0.5])) == "0.250 (0.100–0.500)"


@pytest.mark.parametrize(
    ("values", "percent", "wanted"),
    [([3, 1, 2], 50, 2), ([1, 2, 3, 4], 50, 2), ([1, 2, 3, 4], 99, 4), ([7], 1, 7)],
)
def test_percentiles_are_measured_values(
    values: list[float], percent: float, wanted: float
) -> None:
    assert percentile(values, percent) == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (123.45, "123"),
        (1234567, "1 234 567"),
        (float("inf"), "∞"),
    ],
)
def test_values_are_formatted_with_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text
