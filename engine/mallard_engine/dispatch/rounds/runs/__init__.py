"""Rounds of malls with pooling: which jobs go together, who takes them, and the offer."""
