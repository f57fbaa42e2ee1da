"""Recorded days of live markets: recording and replay."""
