"""What the dispatcher knows of drivers."""
