"""Small instances of the MDRP, made up from a seed, in the files' own format."""

import random
from pathlib import Path

HEADER = (
    "meters_per_minute\tpickup service minutes\tdropoff service minutes\ttarget click-to-door\t"
    "maximum click-to-door\tpay per order\tguaranteed pay per hour"
)


def write_instance(
    folder: Path, *, orders: int = 60, couriers: int = 9, restaurants: int = 8, seed: int = 1
) -> Path:
    """Three busy hours of a small town."""
    rng = random.Random(seed)

    def point() -> str:
        return f"{rng.randrange(5_000)}\t{rng.randrange(5_000)}"

    folder.mkdir(parents=True)
    lines = {
        "restaurants.txt": ["restaurant\tx\ty"],
        "orders.txt": ["order\tx\ty\tplacement_time\trestaurant\tready_time"],
        "couriers.txt": ["courier\tx\ty\ton_time\toff_time"],
        "instance_parameters.txt": [HEADER, "320\t4\t4\t40\t90\t10\t15"],
    }
    for number in range(1, restaurants + 1):
        lines["restaurants.txt"].append(f"r{number}\t{point()}")
    for number in range(1, orders + 1):
        placed = rng.randrange(180)
        ready = placed + rng.randrange(5, 25)
        restaurant = f"r{rng.randint(1, restaurants)}"
        lines["orders.txt"].append(f"o{number}\t{point()}\t{placed}\t{restaurant}\t{ready}")
    for number in range(1, couriers + 1):
        on = rng.choice((0, 0, 30, 60))
        lines["couriers.txt"].append(f"c{number}\t{point()}\t{on}\t{on + rng.choice((150, 200))}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")
    return folder
