"""Dispatch: rounds, offers, deadlines, and the commands of drivers and order services."""
