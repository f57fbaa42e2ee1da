"""The state, in Redis: one Lua script is one transition."""
