"""Typed calls of the Lua scripts, one class for each port."""
