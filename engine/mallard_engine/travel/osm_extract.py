"""Reads roads from an OpenStreetMap extract (`.osm.pbf`) with libosmium.

The data is the OpenStreetMap contributors', under the Open Database Licence.
"""

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mallard_engine.travel.network import RawWays, RoadsError
from mallard_engine.travel.osm_profile import car

try:
    import osmium
except ImportError:  # the extra is not installed
    osmium = None  # type: ignore[assignment]


class Extract(NamedTuple):
    """An extract: `used` of its `of` ways are open to cars; `dated` is its date."""

    ways: RawWays
    used: int
    of: int
    dated: str


def read_extract(path: Path) -> Extract:
    """Read the ways that are open to cars.

    Raises:
        RoadsError: The extract cannot be read or has no such way.
    """
    if osmium is None:
        raise RoadsError("building roads needs the extra: pip install 'mallard-engine[roads]'")
    if not path.is_file():
        raise RoadsError(f"{path}: no such file")
    try:
        extract = _read(path)
    except (RuntimeError, OSError) as error:  # libosmium's own errors are RuntimeError
        raise RoadsError(f"{path} cannot be read as an OpenStreetMap extract: {error}") from error
    if not extract.used:
        raise RoadsError(f"{path} has no road that a car may use")
    return extract


def _read(path: Path) -> Extract:
    node, lat, lon = array("q"), array("i"), array("i")
    first, forward, backward = array("q", [0]), array("d"), array("d")
    used = of = 0
    # Only ways, with the positions of their points.
    entities = osmium.osm.NODE | osmium.osm.WAY
    source = osmium.FileProcessor(str(path), entities).with_locations()
    source = source.with_filter(osmium.filter.EntityFilter(osmium.osm.WAY))
    source = source.with_filter(osmium.filter.KeyFilter("highway"))
    for way in source:
        if not isinstance(way, osmium.osm.Way):
            continue
        of += 1
        drive = car({tag.k: tag.v for tag in way.tags})
        if drive is None:
            continue
        used += 1
        for point in [*way.nodes, None]:
            if point is not None and point.location.valid():
                node.append(point.ref)
                lat.append(point.location.y)
                lon.append(point.location.x)
            elif len(node) > first[-1]:
                # The end, or a point outside the extract: the rest is another way.
                first.append(len(node))
                forward.append(drive.forward_kmh)
                backward.append(drive.backward_kmh)
    ways = RawWays(
        np.array(first, dtype=np.int64),
        np.array(node, dtype=np.int64),
        np.array(lat, dtype=np.int32),
        np.array(lon, dtype=np.int32),
        np.array(forward, dtype=np.float64),
        np.array(backward, dtype=np.float64),
    )
    return Extract(ways, used, of, source.header.get("osmosis_replication_timestamp", ""))
