"""Real days as scenarios: city days and mall days."""
