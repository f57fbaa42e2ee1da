"""The demo: two nodes, simulated drivers, orders, and the reckoning at the end."""
