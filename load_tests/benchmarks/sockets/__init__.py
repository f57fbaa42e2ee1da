"""What a connected driver costs."""
