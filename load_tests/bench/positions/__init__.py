"""What a position costs."""
