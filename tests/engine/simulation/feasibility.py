"""Our own reading of the MDRP's rules: is a solution feasible? Shares no code with the engine.

The rules are those of the data folder's README: travel is ceil(Euclid / metres a minute); a pickup
is at the latest of the bundle's ready times and arrival + 2, left 2 later; a drop-off at arrival +
2, left 2 later; a bundle is of one restaurant; a pickup is no later than off_time; an order is
unknown before its placement; a courier's moves are in order and without a gap.
"""

import math
from collections import defaultdict
from pathlib import Path

Rows = list[dict[str, str]]


def table(path: Path) -> Rows:
    header, *lines = path.read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines if line]


def words(path: Path, header: str) -> list[list[str]]:
    first, *lines = path.read_text().splitlines()
    assert first == header, f"{path.name}: {first!r}"
    return [line.split(" ") for line in lines]


class Instance:
    """The instance, read anew."""

    def __init__(self, folder: Path) -> None:
        (parameters,) = table(folder / "instance_parameters.txt")
        self.speed = float(parameters["meters_per_minute"])
        self.pickup = int(parameters["pickup service minutes"]) // 2
        self.dropoff = int(parameters["dropoff service minutes"]) // 2
        self.orders = {row["order"]: row for row in table(folder / "orders.txt")}
        self.couriers = {row["courier"]: row for row in table(folder / "couriers.txt")}
        restaurants = {row["restaurant"]: row for row in table(folder / "restaurants.txt")}
        self.places = {
            name: (int(row["x"]), int(row["y"]))
            for rows in (self.orders, self.couriers, restaurants)
            for name, row in rows.items()
        }

    def minutes(self, here: str, there: str) -> int:
        (x1, y1), (x2, y2) = self.places[here], self.places[there]
        squared = (x1 - x2) ** 2 + (y1 - y2) ** 2
        return math.ceil(math.sqrt(squared) / self.speed)


def breaches(folder: Path, solution: Path) -> list[str]:
    """What is wrong with the solution; nothing if it is feasible."""
    instance = Instance(folder)
    assignments = words(
        solution / "solution_info_assignments.txt", "assignment_time pickup_time courier orders"
    )
    orders = {
        row[0]: row[1:]
        for row in words(
            solution / "solution_info_orders.txt",
            "order placement_time ready_time pickup_time dropoff_time courier",
        )
    }
    moves = defaultdict(list)
    for courier, departure, origin, destination in words(
        solution / "solution_info_couriers.txt", "courier departure_time origin destination"
    ):
        moves[courier].append((int(departure), origin, destination))
    work = defaultdict(list)
    delivered: list[str] = []
    for assigned, picked_up, courier, *bundle in assignments:
        delivered += bundle
        work[courier].append((int(assigned), int(picked_up), bundle))
    wrong: list[str] = []
    if len(set(delivered)) != len(delivered) or set(delivered) != set(orders):
        wrong.append("orders delivered twice, or the files disagree on which are delivered")
    for courier, runs in work.items():
        expected = follow(instance, courier, runs, orders, wrong)
        if moves.pop(courier, None) != expected:
            wrong.append(f"{courier}: its moves are not those of its assignments")
    if moves:
        wrong.append(f"couriers move without work: {sorted(moves)}")
    return wrong


def follow(
    instance: Instance,
    courier: str,
    runs: list[tuple[int, int, list[str]]],
    orders: dict[str, list[str]],
    wrong: list[str],
) -> list[tuple[int, str, str]]:
    """Follow a courier through its shift and note what is wrong; the moves that it has to make."""
    shift = instance.couriers[courier]
    free, here = int(shift["on_time"]), courier
    expected: list[tuple[int, str, str]] = []
    for assigned, picked_up, bundle in runs:
        bundled = [instance.orders[order] for order in bundle]
        restaurant = bundled[0]["restaurant"]
        arrival = assigned + instance.minutes(here, restaurant)
        earliest = max(arrival + instance.pickup, *(int(row["ready_time"]) for row in bundled))
        breaks = {
            "from several restaurants": len({row["restaurant"] for row in bundled}) != 1,
            "assigned before it was known": assigned
            < max(int(row["placement_time"]) for row in bundled),
            f"assigned while {courier} is busy until {free}": assigned < free,
            f"picked up at {picked_up}, before {earliest}": picked_up < earliest,
            f"picked up after {courier} has gone off": picked_up > int(shift["off_time"]),
        }
        wrong += [f"{bundle}: {what}" for what, is_so in breaks.items() if is_so]
        expected.append((assigned, "0" if here == courier else here, restaurant))
        here, leaves = restaurant, picked_up + instance.pickup
        for order in bundle:
            expected.append((leaves, here, order))
            dropped = leaves + instance.minutes(here, order) + instance.dropoff
            row = instance.orders[order]
            written = [row["placement_time"], row["ready_time"], str(picked_up), str(dropped)]
            if orders.get(order) != [*written, courier]:
                wrong.append(f"{order}: {orders.get(order)}, not {[*written, courier]}")
            here, leaves = order, dropped + instance.dropoff
        free = leaves
    return expected
