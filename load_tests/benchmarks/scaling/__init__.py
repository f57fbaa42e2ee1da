"""What a node and a market cost, by their numbers: see docs/scale.md."""
