"""Draw `docs/demo.svg`: what `mallard demo` shows after 30 s, with the metrics of one run.

The run was that of commit 2fa3096 on two cores, which other work kept busy. The picture depends on
nothing else, so `make docs` draws the same file again.
"""

import io
from collections import Counter
from itertools import accumulate
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from mallard_engine.demo.metric_readings import MetricReadings
from mallard_engine.demo.plan import Plan
from mallard_engine.demo.screen import Screen, Snapshot

FILE = Path(__file__).with_name("demo.svg")
WIDTH = 110
JOBS = {"offered": 10, "assigned": 25, "at_mall": 1, "picked_up": 57, "delivered": 197}
OFFERS = {"offered": 333, "accepted": 280, "declined": 29, "expired": 12, "unacknowledged": 2}
# Offers by the upper bound of their bucket, in seconds.
OFFER_LATENCY = {"0.01": 110, "0.025": 152, "0.05": 39, "0.1": 2}
# Rich's own format loads a font from elsewhere.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{unique_id}-matrix {{ font: {char_height}px/{line_height}px "Fira Code", monospace; }}
    .{unique_id}-title {{ font: bold 18px sans-serif; }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">{matrix}</g>
  </g>
</svg>
"""


def metrics() -> str:
    """The metrics as a node serves them on `/metrics`."""
    counts = accumulate(OFFER_LATENCY.values())
    buckets = dict(zip(OFFER_LATENCY, counts, strict=True))
    buckets["+Inf"] = max(buckets.values())
    return "\n".join(
        [
            "# TYPE mallard_jobs gauge",
            *(f'mallard_jobs{{market="phoenix",state="{it}"}} {n}' for it, n in JOBS.items()),
            "# TYPE mallard_offers counter",
            *(f'mallard_offers_total{{result="{it}"}} {n}' for it, n in OFFERS.items()),
            "# TYPE mallard_offer_latency_seconds histogram",
            *(
                f'mallard_offer_latency_seconds_bucket{{le="{bound}"}} {n}'
                for bound, n in buckets.items()
            ),
            "",
        ]
    )


def draw() -> str:
    """The screen as SVG."""
    plan = Plan()
    snapshot = Snapshot(
        phase="arrivals",
        elapsed_s=30.2,
        submitted=290,
        expected=440,
        metrics=MetricReadings([metrics()]),
        drivers=Counter({"available": 206, "offered": 9, "on_run": 84, "no socket": 1}),
        offers_per_s=11.4,
        reassigned_per_s=1.6,
        seen_ms=(25.7, 200.0, 302.0),
    )
    title = (
        f"{plan.drivers} drivers, {plan.rate:g} orders a second for {plan.seconds:g} s "
        f"at 10 malls; {plan.summary()}"
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Screen(console, title).view(snapshot))
    return console.export_svg(title="make demo", theme=MONOKAI, code_format=SVG, unique_id="demo")


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
