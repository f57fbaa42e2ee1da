"""Turns results into pages: tables, charts and the performance document."""
