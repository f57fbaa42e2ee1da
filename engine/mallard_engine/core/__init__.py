"""The rules, pure and synchronous: the time is always an argument."""
