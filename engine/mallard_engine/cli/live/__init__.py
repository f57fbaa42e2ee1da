"""What commands share that speak with a running engine."""
