"""Clients of Mallard for other people's programs: driver apps and order services.

They speak the public contract only; nothing of the engine is imported.
"""
