"""The demo: two nodes, simulated drivers, orders, and an audit at the end."""
