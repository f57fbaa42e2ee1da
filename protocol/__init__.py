"""The public contract of Mallard, v1: pure data and pure functions, shared by engine, clients and load tests."""
