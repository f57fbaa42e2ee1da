"""The car profile: what a car may drive on, and how fast."""

import pytest

from mallard_engine.travel.osm_profile import car


@pytest.mark.parametrize(
    ("tags", "drive"),
    [
        ("highway=residential", (25, 25)),
        ("highway=motorway", (90, 0)),
        ("highway=motorway oneway=no", (90, 90)),
        ("highway=primary oneway=yes", (65, 0)),
        ("highway=primary oneway=-1", (0, 65)),
        ("highway=primary oneway=yes oneway:motor_vehicle=no", (65, 65)),
        ("highway=secondary junction=roundabout", (55, 0)),
        ("highway=primary maxspeed=50", (40, 40)),
        ("highway=primary maxspeed=30_mph", (30 * 1.609344 * 0.8,) * 2),
        ("highway=primary maxspeed=60 maxspeed:backward=80", (48, 64)),
        ("highway=primary maxspeed=none", (65, 65)),
        ("highway=primary maxspeed=CH:urban", (65, 65)),
        ("highway=primary maxspeed=0", (65, 65)),
        ("highway=primary maxspeed=99999", (65, 65)),
        ("highway=service access=destination", (15, 15)),
        ("highway=service access=no motor_vehicle=yes", (15, 15)),
        ("highway=service access=yes motorcar=no", None),
        ("highway=service access=private", None),
        ("highway=service motor_vehicle=agricultural;forestry", None),
        ("highway=service motor_vehicle=agricultural;destination", (15, 15)),
        ("highway=primary oneway=reversible", None),
        ("highway=residential area=yes", None),
        ("highway=footway", None),
        ("highway=track", None),
        ("highway=construction", None),
        ("railway=rail", None),
    ],
)
def test_way_is_driven_as_its_tags_say(tags: str, drive: tuple[float, float] | None) -> None:
    pairs = (tag.replace("_mph", " mph").split("=") for tag in tags.split())
    found = car(dict(pairs))
    if drive is None or found is None:
        assert found is drive is None
    else:
        assert tuple(found) == pytest.approx(drive)
