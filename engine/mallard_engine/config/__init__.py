"""Settings: where they come from, how they are checked, and a market's policy."""
