"""Match: search, rank, reserve."""
