"""`mallard roads`: build a market's road network from an OpenStreetMap extract."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mallard_engine.travel.network import (
    CLOSED_MS,
    FIXED,
    Network,
    RoadsError,
    network_of,
    segment_lengths_m,
)
from mallard_engine.travel.network_file import LICENCE, About, read_network, write_network
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import in_order

_SUFFIX = ".roads"


def add_parser(subparsers: Any) -> None:
    """Add `roads build` and `roads show`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "roads", help="build or inspect a road network from an OpenStreetMap extract"
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build a network for `travel.roads` of a market")
    build.add_argument("extract", type=Path, metavar="FILE.osm.pbf", help="the extract")
    build.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"output file (default: FILE{_SUFFIX} in this folder)",
    )
    build.set_defaults(action=_build)
    show = actions.add_parser("show", help="check a network and print what it contains")
    show.add_argument("network", type=Path, metavar=f"FILE{_SUFFIX}", help="the network")
    show.set_defaults(action=_show)


def run(args: argparse.Namespace) -> int:
    """Build or show a network. Exit status 1 for an invalid file."""
    try:
        args.action(args)
    except RoadsError as error:
        print(f"mallard: {error}", file=sys.stderr)
        return 1
    return 0


def _build(args: argparse.Namespace) -> None:
    path: Path = args.extract
    out: Path = args.out or Path(path.name.removesuffix(".pbf").removesuffix(".osm") + _SUFFIX)
    started = time.perf_counter()
    extract = read_extract(path)
    print(f"{extract.used:,} of {extract.of:,} highways are for cars")
    network = network_of(extract.ways)
    print(_described(network))
    print("ordering the junctions …", flush=True)
    size = write_network(out, in_order(network), About(path.name, extract.dated))
    print(f"{out}: {size:,} bytes, in {time.perf_counter() - started:.1f} s")
    print(f"The data is {LICENCE}: attribute it wherever you show it.")


def _show(args: argparse.Namespace) -> None:
    network, about = read_network(args.network)
    print(f"{args.network}: made from {about.source}, data of {about.dated or 'no known date'}")
    print(_described(network))
    print(LICENCE)


def _described(network: Network) -> str:
    lat, lon = network.lat / FIXED, network.lon / FIXED
    metres = segment_lengths_m(network.lat, network.lon)
    between_edges = network.first[1:-1].astype(np.int64) - 1
    kilometres = (metres.sum() - metres[between_edges].sum()) / 1000
    oneway = np.mean((network.forward_ms == CLOSED_MS) | (network.backward_ms == CLOSED_MS))
    return (
        f"{len(network.junction_lat):,} junctions, {len(network.tail):,} roads between them "
        f"({kilometres:,.0f} km, {oneway:.0%} one-way), all connected, "
        f"from {lat.min():.3f}, {lon.min():.3f} to {lat.max():.3f}, {lon.max():.3f}"
    )
