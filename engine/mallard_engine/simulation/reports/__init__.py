"""What a simulated day amounts to: figures, tables, charts and progress."""
