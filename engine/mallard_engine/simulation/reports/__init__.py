"""Statistics, tables, charts and progress of simulated days."""
