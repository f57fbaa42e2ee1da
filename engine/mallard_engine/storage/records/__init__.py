"""Conversion between the packed records of the scripts and the core's data.

Nodes of two versions share a storage during a deployment, so no record has a fixed length:
elements that a later version appended are ignored, and missing ones have a default. See
`docs/howto/upgrade.md` for the rules of a schema change.
"""
