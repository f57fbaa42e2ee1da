"""The public contract of Mallard, v1: pure data and functions, shared by engine and clients."""
