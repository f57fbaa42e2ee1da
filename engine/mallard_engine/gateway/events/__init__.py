"""Events: one reader of each market's stream, and what each kind of reader sees of it."""
