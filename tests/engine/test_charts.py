"""Charts as SVG."""

from xml.etree import ElementTree as ET

import pytest

from mallard_engine.charts import BarChart, Dot, DotMap, LineChart, Point, Series

SVG = "{http://www.w3.org/2000/svg}"


def chart(*series: Series, log: bool = False) -> LineChart:
    return LineChart("Match & race", "drivers", "ms", series, log_x=log, log_y=log)


def test_chart_is_well_formed_and_labels_series_and_values() -> None:
    points = [Point(1_000, 0.4, 0.3, 0.6), Point(1_000_000, 0.5)]
    svg = ET.fromstring(chart(Series("ours <1>", points), log=True).svg())
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert {"Match & race", "drivers", "ms", "ours <1>", "1 000", "1 000 000"} <= set(texts)
    assert "ours <1>: 0.400 at 1 000" in [title.text for title in svg.iter(f"{SVG}title")]
    whiskers = [line for line in svg.iter(f"{SVG}line") if line.get("class") == "whisker"]
    assert len(whiskers) == 1


@pytest.mark.parametrize("log", [False, True])
def test_larger_values_are_drawn_higher_and_inside(log: bool) -> None:
    line = Series("ours", [Point(x, x**3) for x in (1, 10, 100)])
    svg = ET.fromstring(chart(line, log=log).svg())
    (path,) = svg.iter(f"{SVG}polyline")
    places = [tuple(map(float, place.split(","))) for place in (path.get("points") or "").split()]
    assert places == sorted(places, key=lambda place: (place[0], -place[1]))
    assert all(0 < x < 720 and 0 < y < 380 for x, y in places)


def test_chart_of_a_single_point_is_drawn() -> None:
    assert "<circle" in chart(Series("ours", [Point(3, 0)])).svg()


def test_chart_without_a_point_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        chart(Series("ours", [])).svg()


def test_bar_heights_are_proportional_to_values() -> None:
    drawn = ET.fromstring(BarChart("t", "x", "y", 0.0, 1.0, [1.0, 0.0, 2.0]).svg())
    bars = [rect for rect in drawn.iter() if rect.get("class") == "mark"]
    heights = sorted(float(bar.get("height", 0)) for bar in bars)
    assert len(heights) == 2
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.01)


def test_names_are_escaped() -> None:
    for text in (
        LineChart("<a> & b", "<", ">", [Series("<x>", [Point(0.0, 1.0)])]).svg(),
        DotMap("<map>", ["<&>"], [Dot(0.0, 0.0, 1.0, 0)]).svg(),
    ):
        ET.fromstring(text)
