"""How long an offer takes, from an order's intended start to its driver."""
